// SPDX-License-Identifier: MPL-2.0

package server

import (
	"sync/atomic"
	"time"
)

// One worker at a time receives requests: the one whose turn it is. It serves a request itself,
// and usually receives the next one, without any switch of threads. The others wait outside of
// the socket, because a thread that sleeps in recv makes each packet expensive: the kernel wakes
// the thread although the receiving worker polls the socket.
//
// A worker passes the turn on before a request that takes long, such as fsync. The watchdog
// takes the turn away from a worker whose request turned out to take long.
type turn struct {
	// state contains the number of the worker plus 1, or 0, the bit busy while this worker
	// serves a request, and the number of requests.
	state atomic.Uint64
	offer chan struct{}
	done  chan struct{} // closed when the socket has ended
	ended atomic.Bool
	// asleep means that the watchdog must be woken when a request arrives.
	asleep atomic.Bool
	wake   chan struct{}
}

const (
	holderMask = 1<<8 - 1
	busy       = 1 << 8
	oneRequest = 1 << 9

	// watchInterval is the time after which the watchdog takes the turn from a worker.
	watchInterval = 2 * time.Millisecond
	// watchIdle is the number of intervals without a request before the watchdog sleeps.
	watchIdle = 50
)

func (t *turn) init() {
	t.offer = make(chan struct{}, 1)
	t.done = make(chan struct{})
	t.wake = make(chan struct{}, 1)
	t.asleep.Store(true)
}

// acquire waits for the turn. It returns false when the socket has ended.
func (t *turn) acquire(worker uint64) bool {
	for !t.ended.Load() {
		state := t.state.Load()
		switch state & holderMask {
		case worker + 1:
			return true
		case 0:
			if t.state.CompareAndSwap(state, state|(worker+1)) {
				return true
			}
			continue
		}
		select {
		case <-t.offer:
		case <-t.done:
		}
	}
	return false
}

// begin marks the worker whose turn it is as busy, and wakes the watchdog if it sleeps.
func (t *turn) begin() {
	t.state.Add(busy)
	if t.asleep.Load() && t.asleep.CompareAndSwap(true, false) {
		t.wake <- struct{}{}
	}
}

// finish ends the request of a worker. The worker may have lost its turn meanwhile.
func (t *turn) finish(worker uint64) {
	if state := t.state.Load(); state&holderMask == worker+1 {
		t.state.CompareAndSwap(state, state-busy+oneRequest)
	}
}

// pass gives the turn of a busy worker to a worker that waits, or to the next that will.
func (t *turn) pass(worker uint64) {
	if state := t.state.Load(); state&holderMask == worker+1 {
		t.take(state)
	}
}

func (t *turn) take(state uint64) {
	if !t.state.CompareAndSwap(state, state&^(holderMask|busy)+oneRequest) {
		return
	}
	select {
	case t.offer <- struct{}{}:
	default:
	}
}

// end lets all workers return.
func (t *turn) end() {
	if t.ended.CompareAndSwap(false, true) {
		close(t.done)
	}
}

type watchdog struct{ quit, ended chan struct{} }

func (d *watchdog) stop() {
	close(d.quit)
	<-d.ended
}

func (t *turn) startWatchdog() *watchdog {
	d := &watchdog{quit: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(d.ended)
		for {
			select {
			case <-d.quit:
				return
			case <-t.wake:
			}
			if !t.watch(d.quit) {
				return
			}
		}
	}()
	return d
}

// watch looks after the busy worker until no request has come for a while. It returns false
// when the watchdog must end.
func (t *turn) watch(quit <-chan struct{}) bool {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	last := t.state.Load()
	for idle := 0; idle < watchIdle || !t.sleep(); idle++ {
		select {
		case <-quit:
			return false
		case <-ticker.C:
		}
		state := t.state.Load()
		switch {
		case state != last:
			idle = 0
		case state&busy != 0:
			t.take(state)
		}
		last = state
	}
	return true
}

// sleep reports whether the watchdog may sleep. A request that comes meanwhile wakes it.
func (t *turn) sleep() bool {
	t.asleep.Store(true)
	// If the worker has seen that the watchdog is asleep, the watchdog finds it in t.wake.
	return t.state.Load()&busy == 0 || !t.asleep.CompareAndSwap(true, false)
}
