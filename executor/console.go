// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// consoleBuffer is how many bytes of console output wait for a reader,
	// beside what the pipe to it holds.
	consoleBuffer = 64 << 10
	// consolePatience is how long a full buffer, or the last output of a guest
	// that has ended, waits for a reader that takes nothing.
	consolePatience = time.Second
	// consoleFlush bounds the time for the last output to a slow reader.
	consoleFlush = 10 * time.Second
)

// A console copies what the guest writes to where Nomad reads it, without
// ever blocking. While the reader keeps up, or at least moves, nothing is
// lost: a full buffer holds the guest back. A reader that takes nothing for
// consolePatience costs the output that does not fit, which is counted, until
// it moves again; then a line says how much is missing.
//
// step does the work; the caller polls the descriptors that wants names.
type console struct {
	in, out int // in is -1 when the guest's end is closed

	buf  [consoleBuffer]byte
	r, w int  // buf[r:w] is to be written
	open bool // the last byte put into buf ends no line

	dropping  bool
	failing   bool   // the last write failed for another reason than a full pipe
	missing   uint64 // dropped, and not yet told to the reader
	dropped   uint64
	discarded []byte
	lastMove  time.Time // when out last took something, or had nothing to take
	finishing time.Time // when the guest ended, else zero
}

// openOutput opens where console output goes: a FIFO for reading too, so that
// it has a reader at any time and outlives Nomad's; a file at its end. The other
// tasks of a group may write where Nomad's FIFOs are, and this process may be root:
// so no symlink is followed and nothing is made. See Plan.OutputRoot for root.
func openOutput(root, path string) (int, error) {
	if path == "" {
		path = "/dev/null"
	}
	fd, err := openFound(root, path)
	if err != nil {
		return -1, fmt.Errorf("open %s for the guest's output: %w", path, err)
	}
	return fd, nil
}

func openFound(root, path string) (int, error) {
	found, err := findBelow(root, path)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(found) }()
	var st unix.Stat_t
	if err := unix.Fstat(found, &st); err != nil {
		return -1, err
	}
	flags := unix.O_WRONLY | unix.O_APPEND
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return -1, unix.ELOOP
	case unix.S_IFIFO:
		flags = unix.O_RDWR
	}
	// Anew and by descriptor, so that it is what was looked at.
	return unix.Open("/proc/self/fd/"+strconv.Itoa(found), flags|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
}

// findBelow follows no symbolic link on the way from root to what is below it, and
// none at the end of any other path.
func findBelow(root, path string) (int, error) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	rel, below := strings.CutPrefix(path, strings.TrimSuffix(root, "/")+"/")
	if root == "" || !below {
		return unix.Open(path, flags, 0)
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(dir) }()
	return unix.Openat2(dir, rel, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
}

// wants returns the descriptors to poll now, for reading and for writing, or
// -1, and when step is to be called at the latest, or zero.
func (c *console) wants() (read, write int, at time.Time) {
	read, write = -1, -1
	if c.r < c.w {
		write = c.out
	}
	if c.dropping || c.w-c.r < len(c.buf) && (c.missing == 0 || c.failing) {
		read = c.in
	}
	if c.stuck() {
		at = c.lastMove.Add(consolePatience)
	}
	if !c.finishing.IsZero() {
		at = earliest(at, c.finishing.Add(consoleFlush))
	}
	return read, write, at
}

// stuck tells whether only the reader can help: there is no room, or nothing
// more to come.
func (c *console) stuck() bool {
	if c.r == c.w || c.dropping {
		return false
	}
	return c.w-c.r == len(c.buf) || c.missing > 0 || !c.finishing.IsZero()
}

// step moves what can be moved. readable says that in has something, or has
// come to its end.
func (c *console) step(now time.Time, readable bool) {
	if readable && c.in >= 0 {
		c.read(now)
	}
	if c.r < c.w {
		c.write(now)
	}
	if c.stuck() && now.Sub(c.lastMove) >= consolePatience {
		c.dropping = true
	}
}

// finish says that the guest has ended: what is left in the pipe is all.
func (c *console) finish(now time.Time) {
	c.finishing, c.lastMove = now, now
}

// done tells whether the guest has ended and nothing is left to be written
// that the reader is likely to take. The rest is dropped.
func (c *console) done(now time.Time) bool {
	switch {
	case c.finishing.IsZero():
		return false
	case now.Sub(c.finishing) >= consoleFlush:
	case c.in >= 0:
		return false
	case c.dropping:
	case c.r < c.w || c.missing > 0 && !c.failing:
		return false
	}
	c.dropBuffer()
	return true
}

func (c *console) read(now time.Time) {
	into := c.room(now)
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
		c.drop(n)
	default:
		c.add(n)
	}
}

// room is the free part of the buffer, in one piece.
func (c *console) room(now time.Time) []byte {
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

// add says that n bytes were put into the room.
func (c *console) add(n int) {
	c.w += n
	c.open = c.buf[c.w-1] != '\n'
}

func (c *console) write(now time.Time) {
	n, err := unix.Write(c.out, c.buf[c.r:c.w])
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
	case err != nil:
		// A full disk, say. What comes next may fit again.
		c.failing = true
		c.dropBuffer()
	case n > 0:
		c.r += n
		c.lastMove = now
		c.dropping, c.failing = false, false
		c.announce(now)
	}
}

// announce puts a line about what is missing where it is missing, as soon as
// it fits there. Until then nothing is read.
func (c *console) announce(now time.Time) {
	if c.missing == 0 {
		return
	}
	line := fmt.Sprintf("[lkl-executor: %d bytes of console output are missing here: nothing took them in time]\n", c.missing)
	if c.open {
		line = "\n" + line
	}
	if c.r > 0 && len(c.buf)-c.w < len(line) {
		c.w = copy(c.buf[:], c.buf[c.r:c.w])
		c.r = 0
	}
	if room := c.room(now); len(room) >= len(line) {
		c.add(copy(room, line))
		c.missing = 0
	}
}

func (c *console) drop(n int) {
	c.missing += uint64(n)
	c.dropped += uint64(n)
}

func (c *console) dropBuffer() {
	c.drop(c.w - c.r)
	c.r, c.w = 0, 0
}

// earliest is the earlier of two times, of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
