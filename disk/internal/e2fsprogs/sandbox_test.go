// SPDX-License-Identifier: MPL-2.0

package e2fsprogs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// newExt4 creates an ext4 image of this size in MiB, in the sandbox.
func newExt4(t *testing.T, mib int64) *os.File {
	t.Helper()
	testenv.Need(t, testenv.Tool(Mke2fs))
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "image"), os.O_RDWR|os.O_CREATE, 0o600)
	must.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	must.NoError(t, f.Truncate(mib<<20))
	runTool(t, Mke2fs, f, "-q", "-F", "-t", "ext4", ImagePath)
	return f
}

func runTool(t *testing.T, tool string, image *os.File, args ...string) {
	t.Helper()
	cmd, err := Command(t.Context(), Sandbox{}, tool, image, args...)
	must.NoError(t, err)
	must.NoError(t, cmd.Run())
}

// The bitmaps of an image with many block groups are read by several threads.
func TestTools_WorkOnALargeImage(t *testing.T) {
	t.Parallel()
	image := newExt4(t, 8<<10)
	must.NoError(t, image.Truncate(12<<30))
	runTool(t, E2fsck, image, "-f", "-p", ImagePath)
	runTool(t, Resize2fs, image, "-f", ImagePath)
	runTool(t, Debugfs, image, "-w", "-R", "mkdir /directory", ImagePath)
	runTool(t, E2fsck, image, "-f", "-p", ImagePath)
}

// A blockedTool waits until somebody reads its output. It cannot end before.
type blockedTool struct {
	cmd *Cmd
	pid int
}

// startBlocked starts a tool that waits for a reader of its output.
func startBlocked(t *testing.T, s Sandbox, tool string, args ...string) blockedTool {
	t.Helper()
	cmd, err := Command(t.Context(), s, tool, newExt4(t, 64), args...)
	must.NoError(t, err)
	r, w, err := os.Pipe()
	must.NoError(t, err)
	defer w.Close()
	_, err = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
	must.NoError(t, err)
	_, err = w.Write(make([]byte, os.Getpagesize()))
	must.NoError(t, err)
	empty, err := memfd.New("empty", nil)
	must.NoError(t, err)
	defer empty.Close()
	cmd.exec.Stdin, cmd.exec.Stdout, cmd.exec.Stderr = empty, w, w
	must.NoError(t, cmd.start())
	t.Cleanup(func() {
		cmd.Kill()
		must.Error(t, cmd.Wait())
		r.Close()
	})
	b := blockedTool{cmd, cmd.exec.Process.Pid}
	must.Wait(t, testenv.EventuallyTrue(func() bool {
		call := b.read(t, "syscall")
		return strings.HasPrefix(call, fmt.Sprint(unix.SYS_WRITE, " ")) || strings.HasPrefix(call, fmt.Sprint(unix.SYS_WRITEV, " "))
	}))
	return b
}

// read returns a file of the tool's directory in /proc.
func (b blockedTool) read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(b.proc(name))
	must.NoError(t, err)
	return string(content)
}

func (b blockedTool) proc(name string) string { return fmt.Sprintf("/proc/%d/%s", b.pid, name) }

// status returns a field of the tool's status.
func (b blockedTool) status(t *testing.T, field string) string {
	t.Helper()
	for line := range strings.Lines(b.read(t, "status")) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no field %s in the status", field)
	return ""
}

// tools are the four tools and their arguments for an image.
var tools = map[string][]string{
	Mke2fs:    {"-F", "-t", "ext4", ImagePath},
	Debugfs:   {"-w", ImagePath},
	E2fsck:    {"-f", "-y", ImagePath},
	Resize2fs: {"-f", ImagePath, "32M"},
}

// eachTool runs a test while a tool works on an image.
func eachTool(t *testing.T, s Sandbox, test func(*testing.T, blockedTool)) {
	testenv.Need(t, testenv.Root)
	for tool, args := range tools {
		t.Run(tool, func(t *testing.T) { test(t, startBlocked(t, s, tool, args...)) })
	}
}

func TestTools_HaveNoPrivileges(t *testing.T) {
	eachTool(t, Sandbox{}, func(t *testing.T, b blockedTool) {
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
			must.Eq(t, "0000000000000000", b.status(t, set), must.Sprint(set))
		}
		must.Eq(t, "1", b.status(t, "NoNewPrivs"))
		must.Eq(t, "2", b.status(t, "Seccomp"))
		must.Eq(t, "", b.status(t, "Groups"))
		uid := strings.Fields(b.status(t, "Uid"))
		must.Eq(t, uid, strings.Fields(b.status(t, "Gid")))
		must.Eq(t, []string{uid[0], uid[0], uid[0], uid[0]}, uid)
		must.Between(t, "1883242496", uid[0], "1887436799")

		// Tools that run at the same time are different users.
		other := startBlocked(t, Sandbox{}, E2fsck, tools[E2fsck]...)
		must.NotEq(t, uid[0], strings.Fields(other.status(t, "Uid"))[0])
	})
}

func TestTools_HaveOnlyTheirFilesOpen(t *testing.T) {
	eachTool(t, Sandbox{}, func(t *testing.T, b blockedTool) {
		entries, err := os.ReadDir(b.proc("fd"))
		must.NoError(t, err)
		for _, entry := range entries {
			path := b.proc(filepath.Join("fd", entry.Name()))
			target, err := os.Readlink(path)
			must.NoError(t, err)
			allowed := target == b.cmd.image.Name() || strings.HasPrefix(target, "pipe:") ||
				strings.HasPrefix(target, "/memfd:empty") || target == b.proc("mounts")
			must.True(t, allowed, must.Sprint(target))
			info, err := os.Stat(path)
			must.NoError(t, err)
			must.Eq(t, 0, info.Mode()&(os.ModeDevice|os.ModeSocket), must.Sprint(target))
		}
		image, err := b.cmd.image.Stat()
		must.NoError(t, err)
		stat, ok := image.Sys().(*syscall.Stat_t)
		must.True(t, ok)
		must.Eq(t, fmt.Sprint(stat.Uid), strings.Fields(b.status(t, "Uid"))[0])
	})
}

func TestTools_HaveLimits(t *testing.T) {
	eachTool(t, Sandbox{}, func(t *testing.T, b blockedTool) {
		limits := map[string]string{}
		for line := range strings.Lines(b.read(t, "limits")) {
			if len(line) > 26 {
				limits[strings.TrimSpace(line[:26])] = strings.Join(strings.Fields(line[26:]), " ")
			}
		}
		for name, want := range map[string]string{
			"Max address space":  "136314880 136314880 bytes", // 128 MiB and 1/32 of 64 MiB
			"Max cpu time":       "3 4 seconds",               // 2 s, and 1 s for 64 MiB
			"Max file size":      "67108864 67108864 bytes",
			"Max core file size": "0 0 bytes",
			"Max processes":      "4 4 processes",
			"Max locked memory":  "0 0 bytes",
		} {
			must.Eq(t, want, limits[name], must.Sprint(name))
		}
		must.StrHasPrefix(t, "3", limits["Max open files"])
	})
}

func TestTools_AreInTheTasksCgroup(t *testing.T) {
	testenv.Need(t, testenv.Root)
	const alloc, task = "7a6e29c1-tools", "web"
	spec, err := cgroup.Nomad(testenv.TaskCgroup(t, alloc, task), alloc, task)
	must.NoError(t, err)
	group, err := spec.Group()
	must.NoError(t, err)
	must.NoError(t, group.Create())
	paths := []string{spec.Unified, spec.Memory, spec.CPU, spec.Freezer, spec.CPUSet}
	eachTool(t, Sandbox{Cgroup: spec}, func(t *testing.T, b blockedTool) {
		for _, path := range slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return p == "" }) {
			processes, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			must.NoError(t, err)
			must.SliceContains(t, strings.Fields(string(processes)), fmt.Sprint(b.pid), must.Sprint(path))
		}
	})
}

// Hosts with cgroup v1 can have a hierarchy of v2 without controllers.
func TestTools_AreCreatedInACgroupOfVersion2(t *testing.T) {
	testenv.Need(t, testenv.Root)
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
		root = "/sys/fs/cgroup/unified"
	}
	group := filepath.Join(root, "lkl-tools-test")
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skip("needs cgroup v2: ", err)
	}
	t.Cleanup(func() { must.NoError(t, os.Remove(group)) })
	t.Run("", func(t *testing.T) {
		eachTool(t, Sandbox{Cgroup: cgroup.Spec{Version: cgroup.V2, Unified: group}}, func(t *testing.T, b blockedTool) {
			must.StrContains(t, b.read(t, "cgroup"), "0::/lkl-tools-test\n")
		})
	})
}

func TestRun_GivesTheImageBack(t *testing.T) {
	testenv.Need(t, testenv.Root)
	image := newExt4(t, 16)
	must.NoError(t, image.Chown(1000, 1001))
	runTool(t, E2fsck, image, "-f", "-y", ImagePath)
	info, err := image.Stat()
	must.NoError(t, err)
	stat, ok := info.Sys().(*syscall.Stat_t)
	must.True(t, ok)
	must.Eq(t, []uint32{1000, 1001}, []uint32{stat.Uid, stat.Gid})
}
