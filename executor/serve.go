// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Indexes of task.fds. poll(2) ignores descriptors of -1.
const (
	slotListener = iota
	slotSignals
	slotGuest
	slotStdoutIn
	slotStdoutOut
	slotStderrIn
	slotStderrOut
	slotControl
	slotFiles
	slotConns // the first of the connections
)

// serve runs until the guest has ended, its output is flushed and its waiting
// clients are answered. It returns the exit status of the executor.
func (t *task) serve() int {
	for {
		now := time.Now()
		if t.exit != nil && t.outputs.done(now) && t.files.deadline.IsZero() {
			break
		}
		until := t.preparePoll()
		_, err := unix.Poll(t.fds, pollTimeout(until, now))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.logf("poll: %v", err)
			t.kill("poll failed in the executor: " + err.Error())
			t.recordExit(time.Now())
			break
		}
		t.handleEvents(time.Now())
	}
	t.exit.Dropped = t.outputs.dropped()
	t.dir.remove(SocketFile)
	for _, c := range t.conns {
		if c.waiting {
			c.respond(Response{Exit: t.exit})
		}
		c.close()
	}
	return 0
}

// preparePoll fills t.fds. It returns the time of the next timeout, or zero.
func (t *task) preparePoll() (until time.Time) {
	stdoutIn, stdoutOut, until := t.outputs.stdout.pollFDs()
	stderrIn, stderrOut, stderrUntil := t.outputs.stderr.pollFDs()
	listener := t.listener
	if len(t.conns)-t.waitingClients() >= maxConns {
		listener = -1
	}
	t.fds = t.fds[:0]
	add := func(fd int, events int16) {
		t.fds = append(t.fds, unix.PollFd{Fd: int32(fd), Events: events})
	}
	add(listener, unix.POLLIN)
	add(t.signals, unix.POLLIN)
	add(t.pidfd, unix.POLLIN)
	add(stdoutIn, unix.POLLIN)
	add(stdoutOut, unix.POLLOUT)
	add(stderrIn, unix.POLLIN)
	add(stderrOut, unix.POLLOUT)
	add(t.control, unix.POLLIN)
	add(t.files.pidfd, unix.POLLIN)
	for _, c := range t.conns {
		add(c.fd, unix.POLLIN)
		until = earliest(until, c.deadline)
	}
	for _, at := range []time.Time{stderrUntil, t.killAt, t.files.publishAt, t.files.deadline} {
		until = earliest(until, at)
	}
	return until
}

// pollTimeout returns the milliseconds until a time, rounded up, or -1 for the
// zero time.
func pollTimeout(until, now time.Time) int {
	if until.IsZero() {
		return -1
	}
	left := until.Sub(now)
	return int(max(0, (left+time.Millisecond-1)/time.Millisecond))
}

// earliest returns the earlier of two times, ignoring zero times.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// handleEvents handles the descriptors that poll reported, and timeouts.
func (t *task) handleEvents(now time.Time) {
	ready := func(slot int) bool { return t.fds[slot].Revents != 0 }
	t.outputs.stdout.transfer(now, ready(slotStdoutIn))
	t.outputs.stderr.transfer(now, ready(slotStderrIn))
	t.publishDropped()
	if ready(slotControl) {
		t.readControl()
	}
	if ready(slotGuest) {
		t.recordExit(now)
	}
	if ready(slotFiles) {
		t.recordFilesEnd(now)
	}
	t.filesTimeouts(now)
	if ready(slotSignals) {
		t.drainSignals()
		t.kill("the executor received a terminating signal")
	}
	if !t.killAt.IsZero() && !now.Before(t.killAt) {
		t.kill("it did not stop in time")
	}
	t.handleConns(now)
	if ready(slotListener) {
		t.accept(now)
	}
}

func (t *task) drainSignals() {
	var b [16]byte
	_, _ = unix.Read(t.signals, b[:])
}

// publishDropped writes the number of dropped bytes to DroppedFile if it has changed. It
// allocates nothing, because it may run as often as the guest writes.
func (t *task) publishDropped() {
	if dropped := t.outputs.dropped(); dropped != t.published {
		t.published = dropped
		_ = t.writeDropped() // State and Exit contain the number as well
	}
}

func (t *task) writeDropped() error {
	_, err := unix.Pwrite(t.droppedFD, strconv.AppendUint(t.number[:0], t.published, 10), 0)
	return err
}
