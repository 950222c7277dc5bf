// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/server"
)

// A share is a directory or a file of the host that a guest mounts.
type share struct {
	source  string
	path    string // in the guest
	options string
}

// packetPair makes a connection between a guest and its file server.
func packetPair(t testing.TB) (guest, host *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must.NoError(t, err)
	for _, fd := range fds {
		must.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20))
	}
	return os.NewFile(uintptr(fds[0]), "guest"), os.NewFile(uintptr(fds[1]), "host")
}

// openPath opens a file without access to its content.
func openPath(t testing.TB, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	must.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// serveShares runs a file server until the guest has ended.
func serveShares(t testing.TB, host *os.File, shares []share) {
	t.Helper()
	var plan files.Plan
	var fds []int
	for i, s := range shares {
		plan.Shares = append(plan.Shares, files.Share{FD: i})
		fds = append(fds, openPath(t, s.source))
	}
	s, err := server.New(server.Config{
		Plan: plan, Socket: int(host.Fd()), Shares: fds, ProcSelfFD: openPath(t, "/proc/self/fd"),
	})
	must.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		_ = unix.Shutdown(int(host.Fd()), unix.SHUT_RDWR)
		test.NoError(t, <-done)
		_ = host.Close()
	})
}

// liveGuest describes a guest with these shares, which runs testdata/live.c.
func liveGuest(t testing.TB, guest *os.File, shares []share, words ...string) guestSpec {
	t.Helper()
	var mounts []map[string]string
	for i, s := range shares {
		mounts = append(mounts, map[string]string{
			"device": strconv.Itoa(i), "path": s.path, "type": "hostfs", "options": s.options,
		})
	}
	return guestSpec{
		kernel: compileGuest(t, "live.c"), extra: guest, options: []string{"--net:files=@5"},
		config: map[string]any{"mounts": mounts}, args: words,
	}
}

// runLive runs testdata/live.c with these shares.
func runLive(t testing.TB, shares []share, words string) ([]string, int) {
	t.Helper()
	guest, host := packetPair(t)
	serveShares(t, host, shares)
	g := startGuest(t, liveGuest(t, guest, shares, strings.Fields(words)...))
	must.NoError(t, guest.Close())
	return g.waitExit(t)
}

func TestLive_FilesAreSharedBothWays(t *testing.T) {
	dir := t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(dir, "from-host"), []byte("hello"), 0o644))
	lines, status := runLive(t, []share{{source: dir, path: "/live/a"}}, "cat /live/a/from-host write /live/a/from-guest world")
	test.Eq(t, []string{"read: hello", "write: 5"}, lines)
	test.Eq(t, 0, status)
	content, err := os.ReadFile(filepath.Join(dir, "from-guest"))
	must.NoError(t, err)
	test.Eq(t, "world", string(content))
}
