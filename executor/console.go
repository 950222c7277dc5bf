// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// consoleBuffer is the size of the buffer in bytes. The pipes on both sides
	// hold more.
	consoleBuffer = 64 << 10
	// consolePatience is the time that a full buffer, or the last output of a
	// guest, waits for a reader that makes no progress.
	consolePatience = time.Second
	// consoleFlush limits the time for writing the last output to a slow reader.
	consoleFlush = 10 * time.Second
)

// A console copies an output of the guest to Nomad without ever blocking. A full
// buffer stops the guest, so nothing is lost while the reader makes progress.
// When the reader stalls for consolePatience, the console drops and counts the
// output that does not fit. Once the reader continues, a line in notices reports the
// number of missing bytes. A guest with a standard error of its own could forge the
// line, but not the count.
//
// The caller polls the descriptors of pollFDs and calls transfer.
type console struct {
	name    string // "stdout" or "stderr"
	in, out int    // in is -1 without a guest's end, or once the guest has closed it
	notices int    // the task's stderr

	buf     [consoleBuffer]byte
	r, w    int  // buf[r:w] is to be written
	midLine bool // the last byte put into buf was not a newline
	tail    tail // of what the guest has written

	dropping  bool
	failure   error  // of a write since the last report; nil if the reader was only slow
	written   uint64 // bytes that out has accepted
	missing   uint64 // dropped bytes that no line has reported yet
	gap       uint64 // the position in the output of the first of them
	dropped   uint64 // all dropped bytes
	discarded []byte
	lastMove  time.Time // when out last accepted bytes or the buffer was empty
	finishing time.Time // when the guest ended; zero while it runs
}

// pollFDs returns the descriptors to poll for reading and for writing, or -1, and
// the time of the next timeout, or zero.
func (c *console) pollFDs() (read, write int, timeout time.Time) {
	read, write = -1, -1
	if c.r < c.w {
		write = c.out
	}
	if c.dropping || c.w-c.r < len(c.buf) {
		read = c.in
	}
	if c.blocked() {
		timeout = c.lastMove.Add(consolePatience)
	}
	if !c.finishing.IsZero() {
		timeout = earliest(timeout, c.finishing.Add(consoleFlush))
	}
	return read, write, timeout
}

// blocked reports whether only the reader can make progress: the buffer is full or
// the guest has ended.
func (c *console) blocked() bool {
	if c.r == c.w || c.dropping {
		return false
	}
	return c.w-c.r == len(c.buf) || !c.finishing.IsZero()
}

// transfer reads and writes as much as possible. readable reports that reading
// from in does not block.
func (c *console) transfer(now time.Time, readable bool) {
	if readable && c.in >= 0 {
		c.read(now)
	}
	if c.r < c.w {
		c.write(now)
	}
	if c.blocked() && now.Sub(c.lastMove) >= consolePatience {
		c.dropping = true
	}
}

// finish records the guest's end: only the content of the pipe is left.
func (c *console) finish(now time.Time) {
	c.finishing, c.lastMove = now, now
}

// done reports whether the guest has ended and its output is written, or the
// reader has had enough time. It drops the rest.
func (c *console) done(now time.Time) bool {
	switch {
	case c.finishing.IsZero():
		return false
	case now.Sub(c.finishing) >= consoleFlush:
	case c.in >= 0:
		return false
	case c.dropping:
	case c.r < c.w:
		return false
	}
	c.dropBuffer()
	c.reportMissing()
	return true
}

func (c *console) read(now time.Time) {
	into := c.freeSpace(now)
	if c.dropping {
		if c.discarded == nil {
			c.discarded = make([]byte, 16<<10)
		}
		into = c.discarded
	}
	n, err := unix.Read(c.in, into)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
	case n <= 0:
		_ = unix.Close(c.in)
		c.in = -1
	case c.dropping:
		c.tail.add(into[:n])
		c.drop(n)
	default:
		c.tail.add(into[:n])
		c.added(n)
	}
}

// freeSpace returns the free part of the buffer as one slice.
func (c *console) freeSpace(now time.Time) []byte {
	if c.r == c.w {
		c.r, c.w = 0, 0
		c.lastMove = now
	}
	if c.r > 0 && c.w == len(c.buf) {
		c.w = copy(c.buf[:], c.buf[c.r:c.w])
		c.r = 0
	}
	return c.buf[c.w:]
}

// added records that n bytes were put into freeSpace.
func (c *console) added(n int) {
	c.w += n
	c.midLine = c.buf[c.w-1] != '\n'
}

func (c *console) write(now time.Time) {
	n, err := unix.Write(c.out, c.buf[c.r:c.w])
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
	case err != nil:
		// For example, the disk is full. Later output may fit again.
		c.failure = err
		c.dropBuffer()
	case n > 0:
		c.r += n
		c.written += uint64(n)
		c.lastMove = now
		if c.dropping && c.missing > 0 {
			c.endLine(now)
		}
		c.dropping = false
		c.reportMissing()
	}
}

// endLine ends the last line before a gap, so that the output after the gap begins on
// a new line.
func (c *console) endLine(now time.Time) {
	if c.midLine {
		c.added(copy(c.freeSpace(now), "\n"))
	}
}

// reportMissing writes a line with the number of missing bytes to notices. If nothing
// reads notices, the bytes are part of the next report.
func (c *console) reportMissing() {
	if c.missing == 0 {
		return
	}
	reason := "the log reader was too slow"
	if c.failure != nil {
		reason = "cannot write to the log: " + c.failure.Error()
	}
	line := fmt.Sprintf("lkl-executor: %d bytes of %s are missing after byte %d: %s\n", c.missing, c.name, c.gap, reason)
	if _, err := unix.Write(c.notices, []byte(line)); err == nil {
		c.missing, c.failure = 0, nil
	}
}

// drop counts n bytes of the output that follow those written and those in buf.
func (c *console) drop(n int) {
	if c.missing == 0 {
		c.gap = c.written + uint64(c.w-c.r)
	}
	c.missing += uint64(n)
	c.dropped += uint64(n)
}

func (c *console) dropBuffer() {
	n := c.w - c.r
	c.r, c.w = 0, 0
	c.drop(n)
	c.gap = min(c.gap, c.written)
}
