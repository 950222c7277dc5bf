// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// A testConsole is a console between a pipe, which the test writes, and a FIFO,
// which the test reads. The test sets the time.
type testConsole struct {
	*console
	t             *testing.T
	guest, fifo   int
	noticesReader int
	now           time.Time
}

func newTestConsole(t *testing.T) *testConsole {
	t.Helper()
	var pipe [2]int
	must.NoError(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	path := filepath.Join(t.TempDir(), "fifo")
	must.NoError(t, unix.Mkfifo(path, 0o600))
	out, err := openOutput("", path)
	must.NoError(t, err)
	fifo, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	must.NoError(t, err)
	var notices [2]int
	must.NoError(t, unix.Pipe2(notices[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	b := &testConsole{&console{name: "stdout", in: pipe[0], out: out, notices: notices[1]}, t, pipe[1], fifo, notices[0], time.Unix(1000, 0)}
	t.Cleanup(func() {
		for _, fd := range []int{b.in, b.out, b.notices, b.guest, b.fifo, b.noticesReader} {
			_ = unix.Close(fd)
		}
	})
	return b
}

// Another task of the group may have replaced Nomad's FIFO.
func TestOpenOutput_FollowsNoLinkAndCreatesNoFile(t *testing.T) {
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

// writeAsGuest writes as much as the pipe accepts.
func (b *testConsole) writeAsGuest(s string) (n int) {
	b.t.Helper()
	n, err := unix.Write(b.guest, []byte(s))
	if err != nil {
		must.ErrorIs(b.t, err, unix.EAGAIN)
	}
	return max(n, 0)
}

const line = "a line of sixty-four bytes, which is a divisor of each capacity\n"

// writeUntilFull writes a text again and again until the pipe, the buffer and the FIFO
// are full.
func (b *testConsole) writeUntilFull(text string) (wrote int) {
	b.t.Helper()
	for n := 1; n > 0; b.transferAll() {
		n = b.writeAsGuest(text)
		wrote += n
	}
	return wrote
}

// readAll reads the FIFO until it stays empty.
func (b *testConsole) readAll() string {
	var all strings.Builder
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(b.fifo, buf)
		if n <= 0 || err != nil {
			return all.String()
		}
		all.Write(buf[:n])
		b.transferAll()
	}
}

// readNotices returns the content of the task's stderr.
func (b *testConsole) readNotices() string {
	buf := make([]byte, 64<<10)
	n, _ := unix.Read(b.noticesReader, buf)
	return string(buf[:max(n, 0)])
}

// transferAll transfers until no progress is possible without time passing.
func (b *testConsole) transferAll() {
	for range 64 {
		in, _, _ := b.pollFDs()
		b.transfer(b.now, in >= 0)
	}
}

func TestConsole_BlocksTheGuestForASecondThenDropsOutput(t *testing.T) {
	b := newTestConsole(t)
	wrote := b.writeUntilFull(line)
	in, _, timeout := b.pollFDs()
	must.Eq(t, -1, in, must.Sprint("the guest is blocked"))
	must.Eq(t, b.now.Add(consolePatience), timeout)

	b.now = b.now.Add(consolePatience - 1)
	b.transferAll()
	must.Zero(t, b.dropped)
	b.now = b.now.Add(1)
	b.transferAll()
	must.Positive(t, b.dropped)
	in, _, timeout = b.pollFDs()
	must.Eq(t, b.in, in, must.Sprint("the guest continues"))
	must.True(t, timeout.IsZero(), must.Sprint("no timeout"))

	delivered := wrote - int(b.dropped)
	must.Eq(t, delivered, len(b.readAll()))
	must.Eq(t, missingLine(int(b.dropped), delivered, "the log reader was too slow"), b.readNotices())
	b.writeAsGuest("after\n")
	b.transferAll()
	must.Eq(t, "after\n", b.readAll())
}

func missingLine(missing, after int, reason string) string {
	return fmt.Sprintf("lkl-executor: %d bytes of stdout are missing after byte %d: %s\n", missing, after, reason)
}

func TestConsole_EndsTheLineBeforeAGap(t *testing.T) {
	b := newTestConsole(t)
	b.writeUntilFull("without end ")
	b.now = b.now.Add(consolePatience)
	b.transferAll()
	must.Positive(t, b.dropped)
	before := b.readAll()
	must.Eq(t, 1, strings.Count(before, "\n"))
	must.StrHasSuffix(t, "\n", before)
	b.writeAsGuest("after\n")
	b.transferAll()
	must.Eq(t, "after\n", b.readAll())
}

// The guest cannot write to the task's stderr, so it cannot forge a report there.
func TestConsole_WritesNoReportToStdout(t *testing.T) {
	b := newTestConsole(t)
	b.writeUntilFull(line)
	b.now = b.now.Add(consolePatience)
	b.transferAll()
	must.StrNotContains(t, b.readAll(), "lkl-executor")
	must.StrContains(t, b.readNotices(), "lkl-executor")
}

func TestConsole_RepeatsAReportThatNothingReads(t *testing.T) {
	b := newTestConsole(t)
	for {
		if _, err := unix.Write(b.notices, make([]byte, 4096)); err != nil {
			must.ErrorIs(t, err, unix.EAGAIN)
			break
		}
	}
	b.drop(5)
	b.reportMissing()
	for b.readNotices() != "" {
	}
	b.drop(2)
	b.reportMissing()
	must.Eq(t, missingLine(7, 0, "the log reader was too slow"), b.readNotices())
	b.reportMissing()
	must.Eq(t, "", b.readNotices())
}

func TestConsole_LosesNothingWhileTheReaderMakesProgress(t *testing.T) {
	b := newTestConsole(t)
	wrote := b.writeUntilFull(line)
	buf := make([]byte, 4096)
	read := 0
	for range 10 {
		b.now = b.now.Add(consolePatience * 9 / 10)
		n, err := unix.Read(b.fifo, buf)
		must.NoError(t, err)
		read += n
		b.transferAll()
	}
	must.Zero(t, b.dropped)
	must.Eq(t, wrote, read+len(b.readAll()))
}

func TestConsole_FlushesForASecondAfterTheEnd(t *testing.T) {
	b := newTestConsole(t)
	wrote := b.writeUntilFull(line)
	must.NoError(t, unix.Close(b.guest))
	b.guest = -1
	b.now = b.now.Add(consolePatience / 2)
	b.finish(b.now)
	b.now = b.now.Add(consolePatience - 1)
	b.transferAll()
	must.False(t, b.done(b.now))
	b.now = b.now.Add(1)
	b.transferAll()
	must.True(t, b.done(b.now))
	must.Eq(t, wrote, len(b.readAll())+int(b.dropped))
}

func TestConsole_ReadsThePipeToItsEnd(t *testing.T) {
	b := newTestConsole(t)
	b.writeAsGuest("last words\n")
	b.finish(b.now) // the output is still in the pipe
	must.False(t, b.done(b.now))
	must.NoError(t, unix.Close(b.guest))
	b.guest = -1
	b.transferAll()
	must.True(t, b.done(b.now))
	must.Eq(t, "last words\n", b.readAll())
}

func TestConsole_StopsFlushingAtTheLimit(t *testing.T) {
	b := newTestConsole(t)
	b.finish(b.now) // another process keeps the guest's end open
	_, _, timeout := b.pollFDs()
	must.Eq(t, b.now.Add(consoleFlush), timeout)
	must.True(t, b.done(timeout))
}

func TestConsole_ContinuesAfterAFailedWrite(t *testing.T) {
	b := newTestConsole(t)
	fifo := b.out
	full, err := openOutput("", "/dev/full")
	must.NoError(t, err)
	b.out = full
	b.writeAsGuest("lost")
	b.transferAll()
	must.Eq(t, 4, b.dropped)
	_, out, _ := b.pollFDs()
	must.Eq(t, -1, out, must.Sprint("must not poll for writing"))
	b.out = fifo
	must.NoError(t, unix.Close(full))
	b.writeAsGuest("here\n")
	b.transferAll()
	must.Eq(t, "here\n", b.readAll())
	must.Eq(t, missingLine(4, 0, "cannot write to the log: no space left on device"), b.readNotices())
}

func TestConsole_AllocatesNothing(t *testing.T) {
	b := newTestConsole(t)
	buf := make([]byte, 4096)
	message := []byte("message")
	must.Zero(t, int(testing.AllocsPerRun(100, func() {
		_, _ = unix.Write(b.guest, message)
		in, _, _ := b.pollFDs()
		b.transfer(b.now, in >= 0)
		_, _ = unix.Read(b.fifo, buf)
	})))
}
