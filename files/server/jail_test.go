// SPDX-License-Identifier: MPL-2.0

package server_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/fuse"
	"github.com/lkl-nomad/nomad-driver-lkl/files/jail"
	"github.com/lkl-nomad/nomad-driver-lkl/files/server"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// jailEnv names a built file server. The tests then use this program, in its jail, in place of
// a server in their own process.
const jailEnv = "LKL_TEST_JAILED_SERVER"

// The jail refuses nothing that the server needs.
func TestServe_WorksInItsJail(t *testing.T) {
	testenv.Need(t, testenv.Root)
	if os.Getenv(jailEnv) != "" {
		t.Skip("runs in the jail already")
	}
	// These tests count the descriptors of their own process, and set limits of the server.
	const skip = "-test.skip=^TestServe_(ClosesWhatTheGuestForgets|LimitsNodesAndHandles)$"
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^Test", skip)
	again.Env = append(os.Environ(), jailEnv+"="+buildProgram(t))
	output, err := again.CombinedOutput()
	must.NoError(t, err, must.Sprint(string(output)))
}

func buildProgram(t testing.TB) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), files.Program)
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "../../cmd/"+files.Program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := build.CombinedOutput()
	must.NoError(t, err, must.Sprint(string(output)))
	return program
}

// maxPrivate is the budget of a file server: its private memory in bytes, with as many files in
// use as a guest keeps in its cache.
const maxPrivate = 6 << 20

func TestServe_NeedsLittleMemory(t *testing.T) {
	testenv.Need(t, testenv.Root)
	share := t.TempDir()
	const inUse, open = 4096, 128
	for i := range inUse {
		write(t, "content", share, numbered("file", i))
	}
	j, socket := startInJail(t, buildProgram(t), share)
	c := newClient(t, socket)
	must.SliceLen(t, inUse+2, c.list(c.walk("0"), 64<<10))
	dir := c.walk("0")
	data := make([]byte, files.MaxWrite)
	for i := range inUse {
		entry, errno := c.lookup(dir, numbered("file", i))
		must.Zero(t, errno)
		if i >= open {
			continue
		}
		fh, errno := c.open(fuse.Open, entry.NodeID, unix.O_RDWR)
		must.Zero(t, errno)
		for offset := uint64(0); offset < 1<<20; offset += files.MaxWrite {
			_, errno = c.call(fuse.Write, entry.NodeID, &fuse.WriteIn{FH: fh, Offset: offset, Size: files.MaxWrite}, data)
			must.Zero(t, errno)
			_, errno = c.call(fuse.Read, entry.NodeID, &fuse.ReadIn{FH: fh, Offset: offset, Size: files.MaxWrite})
			must.Zero(t, errno)
		}
	}
	private := testenv.PrivateMemory(t, j.Pid)
	t.Logf("private memory: %d KiB", private>>10)
	must.Less(t, maxPrivate, private)
}

// startInJail starts a program for one share, and returns its guest's end of the socket.
func startInJail(t testing.TB, program, share string) (*jail.Server, int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must.NoError(t, err)
	fd, err := unix.Open(share, unix.O_PATH|unix.O_CLOEXEC, 0)
	must.NoError(t, err)
	j := serveInJail(t, program, server.Config{
		Plan: files.Plan{Shares: []files.Share{{}}}, Socket: pair[1], Shares: []int{fd},
	})
	t.Cleanup(func() { must.NoError(t, unix.Close(pair[0])) })
	return j, pair[0]
}

// serveInJail starts a program with config's socket and shares, and closes these.
func serveInJail(t testing.TB, program string, config server.Config) *jail.Server {
	t.Helper()
	f, err := os.Open(program)
	must.NoError(t, err)
	defer f.Close()
	config.Plan.Version = files.Version
	j, err := jail.Start(config.Plan, jail.Files{Program: int(f.Fd()), Conn: config.Socket, Shares: config.Shares})
	must.NoError(t, err)
	must.NoError(t, j.AwaitReady())
	for _, fd := range append(config.Shares, config.Socket) {
		must.NoError(t, unix.Close(fd))
	}
	t.Cleanup(func() { // after that of the guest's end of the socket
		var status syscall.WaitStatus
		_, err := syscall.Wait4(j.Pid, &status, 0, nil)
		must.NoError(t, err)
		must.Eq(t, "exited with 0", j.Ended(status))
	})
	return j
}
