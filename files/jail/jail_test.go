// SPDX-License-Identifier: MPL-2.0

package jail

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/landlock"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/osthread"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestMain(m *testing.M) {
	if isProbe() {
		os.Exit(probe())
	}
	os.Exit(m.Run())
}

// A jailed is a server, and the end of its socket that a guest would have.
type jailed struct {
	*Server
	guest  int
	answer []byte // body of the last answer to request
}

// startJailed starts a program as the file server of some shares. The first packet waits on
// the socket. The server ends with the test.
func startJailed(t *testing.T, program string, plan files.Plan, paths []string, packet string) *jailed {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must.NoError(t, err)
	defer closeAll(pair[1:])
	j := &jailed{guest: pair[0]}
	if packet != "" {
		_, err = unix.Write(j.guest, []byte(packet))
		must.NoError(t, err)
	}
	executable, err := os.Open(program)
	must.NoError(t, err)
	defer executable.Close()
	f := Files{Program: int(executable.Fd()), Conn: pair[1]}
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		must.NoError(t, err)
		f.Shares = append(f.Shares, fd)
	}
	defer closeAll(f.Shares)
	j.Server, err = Start(plan, f)
	must.NoError(t, err)
	must.NoError(t, j.AwaitReady())
	t.Cleanup(func() { j.end(t) })
	return j
}

// end closes the guest's end of the socket, waits for the server, and returns how it ended.
func (j *jailed) end(t *testing.T) string {
	t.Helper()
	if j.guest < 0 {
		return ""
	}
	must.NoError(t, unix.Close(j.guest))
	j.guest = -1
	var status syscall.WaitStatus
	_, err := syscall.Wait4(j.Pid, &status, 0, nil)
	must.NoError(t, err)
	return j.Ended(status)
}

// receive returns the next packet of a server.
func (j *jailed) receive(t *testing.T) string {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(j.guest), Events: unix.POLLIN}}, int(testenv.Patience.Milliseconds()))
	must.NoError(t, err)
	must.Positive(t, n, must.Sprint("the server sends nothing"))
	packet := make([]byte, files.MaxPacket)
	n, err = unix.Read(j.guest, packet)
	must.NoError(t, err)
	return string(packet[:n])
}

// buildProbe builds this test binary without cgo, because cgo programs cannot make a system
// call on all of their threads. The race detector uses cgo.
func buildProbe(t *testing.T) string {
	t.Helper()
	return build(t, "test", "-c")
}

func build(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", append(args, "-o", path)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := cmd.CombinedOutput()
	must.NoError(t, err, must.Sprint(string(output)))
	return path
}

func buildServer(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../../cmd/" + files.Program)
	must.NoError(t, err)
	return build(t, "-C", root, "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w")
}

func TestJail_RefusesEveryAttack(t *testing.T) {
	testenv.Need(t, testenv.Root)
	program := buildProbe(t)
	for name, c := range map[string]struct {
		layers string
		uid    uint32
	}{
		"without Landlock and filter":      {layerRoot, 1000},
		"without Landlock and filter root": {layerRoot, 0},
		"without mount_setattr":            {layerRemount, 1000},
		"without filter":                   {layerLandlock, 1000},
		"without filter root":              {layerLandlock, 0},
		"complete":                         {layerFilter, 1000},
		"complete root":                    {layerFilter, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if (c.layers == layerLandlock || c.layers == layerFilter) && landlock.Version() == 0 {
				t.Skip("needs a kernel with Landlock")
			}
			plan := files.Plan{
				Version: files.Version, UID: c.uid, GID: c.uid,
				Shares: []files.Share{{ReadOnlyDirs: []string{"logs", "missing"}}, {ReadOnly: true}, {}},
			}
			j := startJailed(t, program, plan, probeShares(t, int(c.uid)), order{c.layers, os.Getpid()}.encode())
			for {
				report := j.receive(t)
				if report == probeDone {
					break
				}
				t.Error(report)
			}
			must.Eq(t, "exited with 0", j.end(t))
		})
	}
}

// probeShares makes the shares of a probe. The second contains a mount. Everything belongs to
// the user of the server.
func probeShares(t *testing.T, user int) []string {
	t.Helper()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"rw", "rw/logs", "ro", "ro/mount"} {
		must.NoError(t, os.Mkdir(path(name), 0o755))
	}
	must.NoError(t, unix.Mount("tmpfs", path("ro/mount"), "tmpfs", 0, ""))
	t.Cleanup(func() { must.NoError(t, unix.Unmount(path("ro/mount"), unix.MNT_DETACH)) })
	for _, name := range []string{"rw/program", "rw/logs/file", "ro/file", "ro/mount/file", "single"} {
		must.NoError(t, os.WriteFile(path(name), []byte("#!/bin/sh\n"), 0o755))
	}
	must.NoError(t, os.Symlink("/etc/passwd", path("rw/link")))
	must.NoError(t, os.Symlink("../../../etc/passwd", path("rw/up")))
	must.NoError(t, unix.Mknod(path("rw/device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5)))) // /dev/zero
	must.NoError(t, filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, user, user)
	}))
	return []string{path("rw"), path("ro"), path("single")}
}

func TestStart_NeedsPrivileges(t *testing.T) {
	testenv.Need(t, testenv.Root)
	share, err := unix.Open(t.TempDir(), unix.O_PATH|unix.O_CLOEXEC, 0)
	must.NoError(t, err)
	defer closeAll([]int{share})
	err = osthread.Run(func() error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capset(&header, &make([]unix.CapUserData, 2)[0]); err != nil {
			return err
		}
		_, err := Start(files.Plan{Version: files.Version, Shares: make([]files.Share, 1)}, Files{Shares: []int{share}})
		return err
	})
	must.ErrorIs(t, err, ErrPrivileges)
	must.ErrorContains(t, err, "run the plugin as root")
}

// The program changes no mounts of the host if Start has not started it.
func TestMain_RefusesToRunByHand(t *testing.T) {
	command := exec.Command(buildServer(t))
	var before, after, output []byte
	// Other tests change the mounts of the namespace in which this one runs.
	must.NoError(t, osthread.Run(func() (err error) {
		if err := errors.Join(unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS),
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
			return err
		}
		if before, err = os.ReadFile("/proc/thread-self/mountinfo"); err != nil {
			return err
		}
		if output, err = command.CombinedOutput(); err == nil {
			return errors.New("the program succeeds")
		}
		after, err = os.ReadFile("/proc/thread-self/mountinfo")
		return err
	}))
	must.StrContains(t, string(output), "lkl-executor starts this program")
	must.Eq(t, string(before), string(after))
}
