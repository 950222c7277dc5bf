// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Places in task.fds. A descriptor of -1 is none to poll(2).
const (
	slotListener = iota
	slotSignals
	slotGuest
	slotConsoleIn
	slotConsoleOut
	slotControl
	slotConns // and those after it
)

// serve does all that there is to do until the guest has ended and everybody
// knows. It returns the exit status of the process.
func (t *task) serve() int {
	for {
		now := time.Now()
		if t.exit != nil && t.console.done(now) {
			break
		}
		until := t.prepare()
		_, err := unix.Poll(t.fds, milliseconds(until, now))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.say("poll: %v", err)
			t.kill("the executor cannot go on: " + err.Error())
			t.end(time.Now())
			break
		}
		t.attend(time.Now())
	}
	t.exit.Dropped = t.console.dropped
	t.dir.remove(SocketFile)
	for _, c := range t.conns {
		if c.waiting {
			c.respond(Response{Exit: t.exit})
		}
		c.close()
	}
	return 0
}

// prepare fills in what to poll and says until when, zero for ever.
func (t *task) prepare() (until time.Time) {
	in, out, until := t.console.wants()
	listener := t.listener
	if len(t.conns)-t.waiting() >= maxConns {
		listener = -1
	}
	t.fds = t.fds[:0]
	add := func(fd int, events int16) {
		t.fds = append(t.fds, unix.PollFd{Fd: int32(fd), Events: events})
	}
	add(listener, unix.POLLIN)
	add(t.signals, unix.POLLIN)
	add(t.pidfd, unix.POLLIN)
	add(in, unix.POLLIN)
	add(out, unix.POLLOUT)
	add(t.control, unix.POLLIN)
	for _, c := range t.conns {
		add(c.fd, unix.POLLIN)
		until = earliest(until, c.deadline)
	}
	return earliest(until, t.killAt)
}

// milliseconds until a time, rounded up; -1 if it is none.
func milliseconds(until, now time.Time) int {
	if until.IsZero() {
		return -1
	}
	left := until.Sub(now)
	return int(max(0, (left+time.Millisecond-1)/time.Millisecond))
}

// attend looks after everything that poll found ready or whose time has come.
func (t *task) attend(now time.Time) {
	ready := func(slot int) bool { return t.fds[slot].Revents != 0 }
	t.console.step(now, ready(slotConsoleIn))
	t.publishDropped()
	if ready(slotControl) {
		t.readControl()
	}
	if ready(slotGuest) {
		t.end(now)
	}
	if ready(slotSignals) {
		t.drainSignals()
		t.kill("the executor was told to end")
	}
	if !t.killAt.IsZero() && !now.Before(t.killAt) {
		t.kill("it did not stop in time")
	}
	t.attendConns(now)
	if ready(slotListener) {
		t.accept(now)
	}
}

func (t *task) drainSignals() {
	var b [16]byte
	_, _ = unix.Read(t.signals, b[:])
}

// publishDropped writes down how much of the console output was dropped. It
// allocates nothing, since it may be done as often as the guest writes.
func (t *task) publishDropped() {
	n := t.console.dropped
	if n == t.published {
		return
	}
	if t.droppedFD < 0 {
		fd, err := t.dir.create(DroppedFile)
		if err != nil {
			t.published = n // it is in State and Exit all the same
			return
		}
		t.droppedFD = fd
	}
	t.published = n
	_, _ = unix.Pwrite(t.droppedFD, strconv.AppendUint(t.number[:0], n, 10), 0)
}
