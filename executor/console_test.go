// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// A bench is a console between a pipe that the test writes and a FIFO that the
// test reads, at a time that the test sets.
type bench struct {
	*console
	t           *testing.T
	guest, fifo int
	now         time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	var pipe [2]int
	must.NoError(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	path := filepath.Join(t.TempDir(), "fifo")
	must.NoError(t, unix.Mkfifo(path, 0o600))
	out, err := openOutput("", path)
	must.NoError(t, err)
	fifo, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	must.NoError(t, err)
	b := &bench{&console{in: pipe[0], out: out}, t, pipe[1], fifo, time.Unix(1000, 0)}
	t.Cleanup(func() {
		for _, fd := range []int{b.in, b.out, b.guest, b.fifo} {
			_ = unix.Close(fd)
		}
	})
	return b
}

// Another task of the group may put something else where Nomad's FIFO was.
func TestOutput_LeadsNowhereElse(t *testing.T) {
	dir := t.TempDir()
	victim, link, missing := filepath.Join(dir, "victim"), filepath.Join(dir, "link"), filepath.Join(dir, "missing")
	must.NoError(t, os.WriteFile(victim, nil, 0o600))
	must.NoError(t, os.Symlink(victim, link))
	_, err := openOutput("", link)
	must.ErrorIs(t, err, unix.ELOOP)
	must.ErrorContains(t, err, link)
	must.NoError(t, os.Remove(link))
	must.NoError(t, os.Symlink(missing, link))
	_, err = openOutput("", link)
	must.ErrorIs(t, err, unix.ELOOP)
	_, err = openOutput("", missing)
	must.ErrorIs(t, err, os.ErrNotExist)
	_, err = os.Lstat(missing)
	must.ErrorIs(t, err, os.ErrNotExist)
}

// say writes as the guest would: as much as there is room for now.
func (b *bench) say(s string) (n int) {
	b.t.Helper()
	n, err := unix.Write(b.guest, []byte(s))
	if err != nil {
		must.ErrorIs(b.t, err, unix.EAGAIN)
	}
	return max(n, 0)
}

// sayUntilHeld writes lines until nothing more goes in anywhere.
func (b *bench) sayUntilHeld() (wrote int) {
	b.t.Helper()
	for n := 1; n > 0; b.move() {
		n = b.say(strings.Repeat("x", 63) + "\n")
		wrote += n
	}
	return wrote
}

// hear reads all that reaches the reader.
func (b *bench) hear() string {
	var all strings.Builder
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(b.fifo, buf)
		if n <= 0 || err != nil {
			return all.String()
		}
		all.Write(buf[:n])
		b.move()
	}
}

// move has the console do all that it can do without time passing.
func (b *bench) move() {
	for range 64 {
		in, _, _ := b.wants()
		b.step(b.now, in >= 0)
	}
}

func TestConsole_HoldsTheGuestForASecondAndThenDrops(t *testing.T) {
	b := newBench(t)
	wrote := b.sayUntilHeld()
	in, _, at := b.wants()
	must.Eq(t, -1, in, must.Sprint("the guest is held"))
	must.Eq(t, b.now.Add(consolePatience), at)

	b.now = b.now.Add(consolePatience - 1)
	b.move()
	must.Zero(t, b.dropped)
	b.now = b.now.Add(1)
	b.move()
	must.Positive(t, b.dropped)
	in, _, at = b.wants()
	must.Eq(t, b.in, in, must.Sprint("the guest goes on"))
	must.True(t, at.IsZero(), must.Sprint("for as long as it takes"))

	got := b.hear()
	before, notice, found := strings.Cut(got, "[lkl-executor: ")
	must.True(t, found)
	must.StrHasSuffix(t, "]\n", notice)
	must.Eq(t, wrote-int(b.dropped), len(before))
	b.say("after\n")
	b.move()
	must.Eq(t, "after\n", b.hear())
}

func TestConsole_TheNoticeBeginsALine(t *testing.T) {
	b := newBench(t)
	b.say("no end")
	b.move()
	b.drop(5)
	b.say(" of line")
	b.failing = true // it may read although something is missing
	b.move()
	must.Eq(t, "no end of line\n[lkl-executor: 5 bytes of console output are missing here: nothing took them in time]\n", b.hear())
}

func TestConsole_AReaderThatMovesIsWaitedFor(t *testing.T) {
	b := newBench(t)
	wrote := b.sayUntilHeld()
	buf := make([]byte, 4096)
	heard := 0
	for range 10 {
		b.now = b.now.Add(consolePatience * 9 / 10)
		n, err := unix.Read(b.fifo, buf)
		must.NoError(t, err)
		heard += n
		b.move()
	}
	must.Zero(t, b.dropped)
	must.Eq(t, wrote, heard+len(b.hear()))
}

func TestConsole_TheEndIsFlushedForASecond(t *testing.T) {
	b := newBench(t)
	wrote := b.sayUntilHeld()
	must.NoError(t, unix.Close(b.guest))
	b.guest = -1
	b.now = b.now.Add(consolePatience / 2)
	b.finish(b.now)
	b.now = b.now.Add(consolePatience - 1)
	b.move()
	must.False(t, b.done(b.now))
	b.now = b.now.Add(1)
	b.move()
	must.True(t, b.done(b.now))
	must.Eq(t, wrote, len(b.hear())+int(b.dropped))
}

func TestConsole_TheEndOfAGuestIsTheEndOfItsPipe(t *testing.T) {
	b := newBench(t)
	b.say("last words\n")
	b.finish(b.now) // they are still in the pipe
	must.False(t, b.done(b.now))
	must.NoError(t, unix.Close(b.guest))
	b.guest = -1
	b.move()
	must.True(t, b.done(b.now))
	must.Eq(t, "last words\n", b.hear())
}

func TestConsole_FlushesNotForEver(t *testing.T) {
	b := newBench(t)
	b.finish(b.now) // somebody else still holds the guest's end
	_, _, at := b.wants()
	must.Eq(t, b.now.Add(consoleFlush), at)
	must.True(t, b.done(at))
}

func TestConsole_AFullDiskMayHaveRoomAgain(t *testing.T) {
	b := newBench(t)
	fifo := b.out
	full, err := openOutput("", "/dev/full")
	must.NoError(t, err)
	b.out = full
	b.say("lost")
	b.move()
	must.Eq(t, 4, b.dropped)
	_, out, _ := b.wants()
	must.Eq(t, -1, out, must.Sprint("nothing to be busy with"))
	b.out = fifo
	must.NoError(t, unix.Close(full))
	b.say("here\n")
	b.move()
	must.Eq(t, "here\n[lkl-executor: 4 bytes of console output are missing here: nothing took them in time]\n", b.hear())
}

func TestConsole_AllocatesNothing(t *testing.T) {
	b := newBench(t)
	buf := make([]byte, 4096)
	message := []byte("message")
	must.Zero(t, int(testing.AllocsPerRun(100, func() {
		_, _ = unix.Write(b.guest, message)
		in, _, _ := b.wants()
		b.step(b.now, in >= 0)
		_, _ = unix.Read(b.fifo, buf)
	})))
}
