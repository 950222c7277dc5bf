// SPDX-License-Identifier: MPL-2.0

package fstest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/shares"
)

// serve starts a file server for directories, as a user. It is checked and reaped at the end of
// the test.
func serve(t *testing.T, uid int, list []files.Share, paths ...string) *shares.Server {
	t.Helper()
	testenv.Need(t, testenv.Root)
	plan := files.Plan{UID: uint32(uid), GID: uint32(uid), Shares: list}
	s, err := shares.Serve(testenv.FileServer(t), plan, paths...)
	must.NoError(t, err)
	t.Cleanup(func() {
		_ = s.Guest.Close() // fails if the test has closed it
		must.NoError(t, s.Wait())
	})
	return s
}

// A bridge carries messages between /dev/fuse and a file server, so that the host's kernel takes
// the place of a guest.
type bridge struct {
	device *os.File
	ended  sync.WaitGroup
}

func newBridge(t *testing.T) *bridge {
	t.Helper()
	testenv.Need(t, testenv.FUSE)
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must.NoError(t, err)
	return &bridge{device: os.NewFile(uintptr(fd), "/dev/fuse")}
}

// forward copies messages until the file system is unmounted.
func (b *bridge) forward(server *os.File) {
	device, socket := int(b.device.Fd()), int(server.Fd())
	b.ended.Go(func() {
		copyMessages(device, socket)
		_ = unix.Shutdown(socket, unix.SHUT_RDWR)
	})
	b.ended.Go(func() { copyMessages(socket, device) })
}

// copyMessages copies messages until an end is gone.
func copyMessages(from, to int) {
	message := make([]byte, 1<<20)
	for {
		n, err := unix.Read(from, message)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) { // an aborted request
			continue
		}
		if n <= 0 {
			return
		}
		for {
			_, err = unix.Write(to, message[:n])
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return
		}
	}
}

// runOnServer runs the program in a private mount namespace, in the first share of a file
// server. The host's kernel is the client of the server.
func runOnServer(t *testing.T, server *shares.Server, args ...string) string {
	t.Helper()
	b := newBridge(t)
	defer b.device.Close()
	const script = `mount -i -t fuse -o nosuid,nodev,fd=3,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other \
		hostfs /mnt && exec 3<&- 4<&- && exec "$@"`
	cmd := exec.CommandContext(limited(t), "sh", append([]string{"-c", script, "sh", compile(t, "gcc")}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	mounted, closedByShell, err := os.Pipe()
	must.NoError(t, err)
	defer mounted.Close()
	cmd.ExtraFiles = []*os.File{b.device, closedByShell}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must.NoError(t, errors.Join(cmd.Start(), closedByShell.Close()))
	_, err = mounted.Read(make([]byte, 1)) // the device cannot be read before
	must.ErrorIs(t, err, io.EOF)
	b.forward(server.Guest)
	must.NoError(t, cmd.Wait(), must.Sprintf("%s: %s", cmd, lastLines(out.String())))
	b.ended.Wait()
	return out.String()
}

// serverDifferences are those of a live directory, and one more: the host's kernel keeps each
// file that it has seen, for which the server needs a descriptor.
func serverDifferences(t *testing.T) map[string]string {
	t.Helper()
	all := liveDifferences(t)
	var limit unix.Rlimit
	must.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	if limit.Max < 30000 {
		all["directory_of_many"] = "-1: ENFILE"
	}
	return all
}

// The server is right independent of the guest: the host's kernel has its own client of the
// protocol.
func TestServer_GivesNativeAnswersToTheHostsKernel(t *testing.T) {
	for _, user := range users {
		t.Run(user.name, func(t *testing.T) {
			native := runNatively(t, append(user.options, newDirectory(t))...)
			server := serve(t, user.uid, []files.Share{{}}, newDirectory(t))
			requireSame(t, native, runOnServer(t, server, append(user.options, "/mnt/0")...), serverDifferences(t))
		})
	}
}

func TestRandom_ServerHasEveryByte(t *testing.T) {
	t.Parallel()
	dir := newDirectory(t)
	out := runOnServer(t, serve(t, 0, []files.Share{{}}, dir), randomArgs(t, "/mnt/0")...)
	requireDigest(t, filepath.Join(dir, "file"), out)
}
