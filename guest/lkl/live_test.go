// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/jail"
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
	guestFD, hostFD, err := jail.SocketPair()
	must.NoError(t, err)
	return os.NewFile(uintptr(guestFD), "guest"), os.NewFile(uintptr(hostFD), "host")
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
	mask := unix.Umask(0) // Serve sets it to zero, for the directories of later tests as well
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		_ = unix.Shutdown(int(host.Fd()), unix.SHUT_RDWR)
		test.NoError(t, <-done)
		unix.Umask(mask)
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

func TestLive_ProgramsFindTheSemanticsOfAFile(t *testing.T) {
	dir := t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(dir, "text"), []byte("text"), 0o644))
	name := strings.Repeat("n", 255)
	lines, status := runLive(t, []share{{source: dir, path: "/live"}}, "map /live/text mapwrite /live/text unlinked /live/u "+
		"fifo /live/fifo socket /live/socket lock /live/text sparse /live/sparse write /live/"+name+" x cat /live/"+name)
	test.Eq(t, []string{
		"map: text text", "mapwrite: 0", "unlinked: gone", "fifo: 0", "socket: 0",
		"flock: Resource temporarily unavailable", "ofd lock: Resource temporarily unavailable", "flock: 0",
		"sparse: 4294967297", "write: 1", "read: x",
	}, lines)
	test.Eq(t, 0, status)
	content, err := os.ReadFile(filepath.Join(dir, "text"))
	must.NoError(t, err)
	test.Eq(t, "MAPt", string(content))
	test.Eq(t, "x", readFile(t, filepath.Join(dir, name)))
}

func TestLive_LargeDirectoryIsComplete(t *testing.T) {
	dir := t.TempDir()
	for i := range 20000 {
		must.NoError(t, os.WriteFile(filepath.Join(dir, "file"+strconv.Itoa(i)), nil, 0o644))
	}
	lines, _ := runLive(t, []share{{source: dir, path: "/live"}}, "list /live list /live")
	test.Eq(t, []string{"entries: 20002", "entries: 20002"}, lines)
}

// The guest sees a file that the host has replaced by rename, and what the host appends to
// a file that is open in the guest.
func TestLive_GuestFollowsTheHost(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	must.NoError(t, os.WriteFile(path, []byte("one"), 0o644))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "log"), []byte("first"), 0o644))
	shares := []share{{source: dir, path: "/live"}}
	guest, host := packetPair(t)
	serveShares(t, host, shares)
	g := startGuest(t, liveGuest(t, guest, shares,
		strings.Fields("cat /live/file hold /live/log more wait cat /live/file follow wait cat /live/file")...))
	must.NoError(t, guest.Close())
	g.expectLine(t, "waiting")
	must.NoError(t, os.WriteFile(path+".new", []byte("two"), 0o644))
	must.NoError(t, os.Rename(path+".new", path))
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_WRONLY, 0)
	must.NoError(t, err)
	_, err = log.WriteString("second")
	must.NoError(t, err)
	must.NoError(t, log.Close())
	g.sendControl(t, "signal 10")
	g.expectLine(t, "waiting")
	must.NoError(t, os.WriteFile(path, []byte("three"), 0o644))
	g.sendControl(t, "signal 10")
	lines, status := g.waitExit(t)
	test.Eq(t, []string{
		"read: one", "hold: 0", "more: first", "waiting", "read: two", "follow: second", "waiting", "read: three",
	}, lines)
	test.Eq(t, 0, status)
}

// After the end of the file server each operation fails, also on open files. The guest goes
// on, sleeps when it is idle, and ends with the status of its program.
func TestLive_FailsWithEIOAfterServerEnds(t *testing.T) {
	dir := t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("one"), 0o644))
	shares := []share{{source: dir, path: "/live"}}
	guest, host := packetPair(t)
	serveShares(t, host, shares)
	g := startGuest(t, liveGuest(t, guest, shares,
		strings.Fields("hold /live/file wait cat /live/file more write /live/new x list /live write /tmp/x y cat /tmp/x bad")...))
	must.NoError(t, guest.Close())
	g.expectLine(t, "waiting")
	must.NoError(t, unix.Shutdown(int(host.Fd()), unix.SHUT_RDWR))
	g.sendControl(t, "signal 10")
	lines, status := g.waitExit(t)
	var program []string
	for _, line := range lines {
		if !strings.Contains(line, "hostfs: ") {
			program = append(program, line)
		}
	}
	test.Eq(t, []string{
		"hold: 0", "waiting", "read: I/O error", "more: I/O error", "write: I/O error",
		"entries: I/O error", "write: 1", "read: y", "unknown command bad",
	}, program)
	test.Eq(t, 2, status)
	requireCleanDisk(t, g.root)
}

func TestLive_MountPointsAreCreatedInsideTheRoot(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must.NoError(t, os.WriteFile(file, []byte("one"), 0o644))
	shares := []share{
		{source: dir, path: "/var/run/live", options: "ro,nosuid,nodev"}, {source: file, path: "/deep/er/file"},
	}
	guest, host := packetPair(t)
	serveShares(t, host, shares)
	s := liveGuest(t, guest, shares, strings.Fields("cat /run/live/file write /run/live/x y cat /deep/er/file")...)
	s.root = buildImage(t, 16, map[string]string{"var/keep": ""})
	runDebugfs(t, s.root, "symlink /var/run /run")
	g := startGuest(t, s)
	must.NoError(t, guest.Close())
	lines, _ := g.waitExit(t)
	test.Eq(t, []string{"read: one", "write: Read-only file system", "read: one"}, lines)
}

func TestMounts_ReportsWhatIsWrong(t *testing.T) {
	shares := []share{{source: t.TempDir(), path: "/live"}}
	for name, c := range map[string]struct {
		mount map[string]string
		root  string
		want  string
	}{
		"missing share":   {map[string]string{"device": "7", "path": "/live", "type": "hostfs"}, "", `lkl: cannot mount the host's file or directory on /live: the file server does not have it`},
		"unknown option":  {map[string]string{"device": "0", "path": "/live", "type": "hostfs", "options": "size=1"}, "", `lkl: cannot mount the host's file or directory on /live: the options are not among`},
		"read-only root":  {map[string]string{"device": "0", "path": "/live", "type": "hostfs"}, "ro", `lkl: cannot mount the host's file or directory on /live: the mount point does not exist, and the file system there is read-only`},
		"bad tmpfs size":  {map[string]string{"device": "t", "path": "/t", "type": "tmpfs", "options": "size=x"}, "", `lkl: cannot mount a tmpfs on /t: an option is unknown`},
		"below a file":    {map[string]string{"device": "0", "path": "/file/x", "type": "hostfs"}, "", `lkl: cannot mount the host's file or directory on /file/x: not a directory`},
		"no block device": {map[string]string{"device": "none", "path": "/x"}, "", `lkl: cannot mount block device "none" on /x: there is no such file or device`},
	} {
		t.Run(name, func(t *testing.T) {
			guest, host := packetPair(t)
			serveShares(t, host, shares)
			s := liveGuest(t, guest, shares)
			s.config["mounts"] = []map[string]string{c.mount}
			s.config["root_options"] = c.root
			s.root = buildImage(t, 16, map[string]string{"file": "x", "proc/x": "", "sys/x": "", "dev/x": "", "tmp/x": "", "run/x": ""})
			g := startGuest(t, s)
			must.NoError(t, guest.Close())
			lines, status := g.waitExit(t)
			test.StrHasPrefix(t, c.want, lastLine(lines))
			test.Eq(t, 122, status)
		})
	}
}

func TestMounts_TmpfsHasItsSize(t *testing.T) {
	lines, status := runGuest(t, guestSpec{
		kernel: compileGuest(t, "live.c"), config: map[string]any{"mounts": []map[string]string{
			{"device": "a", "path": "/a", "type": "tmpfs", "options": "size=2m,mode=1777,nosuid"},
			{"device": "b", "path": "/b/c", "type": "tmpfs", "options": "size=64k,mode=700"},
		}},
		args: strings.Fields("space /a mode /a mode /b/c fill /a/x write /b/c/y text cat /b/c/y unlinked /b/c/z map /b/c/y " +
			"fifo /b/c/f socket /b/c/s sparse /b/c/big cat /b/c/big write /a/y text write /a/x text write /a/y text cat /a/x"),
	})
	test.Eq(t, []string{
		"space: 2097152", "mode: 17407", "mode: 16832", "fill: No space left on device", "filled: 2097152",
		"write: 4", "read: text", "unlinked: gone", "map: text text", "fifo: 0", "socket: 0", "sparse: 4294967297", "read: ",
		"write: No space left on device", "write: 4", "write: 4", "read: text",
	}, lines)
	test.Eq(t, 0, status)
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	must.NoError(t, err)
	return string(content)
}

func runDebugfs(t testing.TB, image, command string) {
	t.Helper()
	out, err := exec.Command("debugfs", "-w", "-R", command, image).CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
}
