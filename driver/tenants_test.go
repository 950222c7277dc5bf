// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/osthread"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// Each test runs tasks of different allocs, as two tenants of a node have them.
// SECURITY.md refers to these tests.

// as calls do on a thread with the user and group of a guest or an executor, and
// without the capabilities of root. Those processes have fewer system calls.
func as(id int, do func() error) error {
	return osthread.Run(func() error {
		for _, call := range [][2]uintptr{{unix.SYS_SETGROUPS, 0}, {unix.SYS_SETRESGID, uintptr(id)}, {unix.SYS_SETRESUID, uintptr(id)}} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[1], call[1]); errno != 0 {
				return fmt.Errorf("become user %d: %w", id, errno)
			}
		}
		return do()
	})
}

// userOf returns the effective user of a process.
func userOf(t *testing.T, process executor.Process) (effective int) {
	t.Helper()
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.Pid))
	must.NoError(t, err)
	_, ids, found := strings.Cut(string(info), "\nUid:\t")
	must.True(t, found)
	var realUser int
	_, err = fmt.Sscan(ids, &realUser, &effective)
	must.NoError(t, err)
	return effective
}

func TestTenants_UsersReachNoOtherTask(t *testing.T) {
	p := newTestPlugin(t)
	_, one := p.run(t, TaskConfig{Kernel: "idle.spt"})
	_, other := p.run(t, TaskConfig{Kernel: "idle.spt"})
	victim := stateOf(t, other)
	users := map[int]bool{}
	for _, state := range []taskState{stateOf(t, one), victim} {
		waitFor(t, "the executor to confine itself", func() bool { return userOf(t, state.Executor) != 0 })
		users[userOf(t, state.Guest)], users[userOf(t, state.Executor)] = true, true
	}
	must.MapLen(t, 4, users)
	must.MapNotContainsKey(t, users, 0)

	open := func(path string) func() error {
		return func() error {
			f, err := os.Open(path)
			if err == nil {
				_ = f.Close()
			}
			return err
		}
	}
	attempts := map[string]func() error{"list the state directory": open(p.config.StateDir)}
	must.NoError(t, filepath.WalkDir(victim.Dir, func(path string, _ fs.DirEntry, err error) error {
		attempts["open "+path] = open(path)
		return err
	}))
	must.MapContainsKey(t, attempts, "open "+filepath.Join(victim.Dir, executor.SocketFile))
	for _, process := range []executor.Process{victim.Guest, victim.Executor} {
		pid := process.Pid
		for _, name := range []string{"mem", "maps", "environ", "fd", "root/", "stack"} {
			path := fmt.Sprintf("/proc/%d/%s", pid, name)
			attempts["open "+path] = open(path)
		}
		attempts[fmt.Sprint("signal ", pid)] = func() error { return unix.Kill(pid, unix.SIGKILL) }
		attempts[fmt.Sprint("trace ", pid)] = func() error { return unix.PtraceSeize(pid) }
		attempts[fmt.Sprint("limit ", pid)] = func() error { return unix.Prlimit(pid, unix.RLIMIT_CPU, &unix.Rlimit{}, nil) }
		attempts[fmt.Sprint("read the memory of ", pid)] = func() error {
			local, remote := []unix.Iovec{{Base: new(byte), Len: 1}}, []unix.RemoteIovec{{Base: 0x10000, Len: 1}}
			_, err := unix.ProcessVMReadv(pid, local, remote, 0)
			return err
		}
	}
	for _, process := range []executor.Process{stateOf(t, one).Guest, stateOf(t, one).Executor} {
		user := userOf(t, process)
		for what, attempt := range attempts {
			err := as(user, attempt)
			denied := errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
			must.True(t, denied, must.Sprintf("user %d: %s: %v", user, what, err))
		}
	}
	must.True(t, victim.Guest.Alive())
	must.True(t, victim.Executor.Alive())
}

func TestTenants_ProcessesAreInTheCgroupsOfTheirTask(t *testing.T) {
	p := newTestPlugin(t)
	for range 2 {
		task, handle := p.run(t, TaskConfig{Kernel: "idle.spt"})
		state := stateOf(t, handle)
		for process, controllers := range map[executor.Process][]string{
			state.Guest: {"memory", "cpu", "freezer"}, state.Executor: {"memory", "cpu"},
		} {
			content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", process.Pid))
			must.NoError(t, err)
			groups := map[string]string{}
			for line := range strings.Lines(string(content)) {
				_, rest, _ := strings.Cut(line, ":")
				names, path, _ := strings.Cut(rest, ":")
				for _, name := range strings.Split(names, ",") {
					groups[name] = path
				}
			}
			for _, name := range controllers {
				if _, v1 := groups["memory"]; !v1 {
					name = "" // cgroup v2 has one group for all controllers
				}
				must.StrContains(t, groups[name], task.AllocID, must.Sprintf("%s: %s", name, content))
			}
		}
	}
}

func TestTenants_JobReachesNoFileOfAnotherAlloc(t *testing.T) {
	p := newTestPlugin(t)
	victim, handle := p.run(t, TaskConfig{Kernel: "idle.spt"})
	secret := filepath.Join(victim.TaskDir().LocalDir, "secret")
	must.NoError(t, os.WriteFile(secret, make([]byte, 64<<10), 0o644))
	var kept []string
	must.NoError(t, filepath.WalkDir(stateOf(t, handle).Dir, func(path string, _ fs.DirEntry, err error) error {
		kept = append(kept, path)
		return err
	}))

	task := p.task(t, TaskConfig{Kernel: "idle.spt"}, true)
	local := task.TaskDir().LocalDir
	must.NoError(t, os.Symlink(secret, filepath.Join(local, "link")))
	relative, err := filepath.Rel(task.TaskDir().Dir, secret)
	must.NoError(t, err)
	must.NoError(t, os.Symlink(filepath.Dir(secret), filepath.Join(local, "dir")))
	for _, path := range append(kept, secret, relative, "local/link", "local/dir/secret", "local/dir") {
		for _, job := range []TaskConfig{
			{Kernel: path}, {Kernel: testenv.Guest(t, "disk.spt"), Rootfs: path},
		} {
			must.NoError(t, task.EncodeConcreteDriverConfig(&job))
			_, _, err := p.StartTask(task)
			must.ErrorContains(t, err, path)
		}
	}
}

func TestTenants_FloodOfOutputDelaysNoOtherTask(t *testing.T) {
	p := newTestPlugin(t)
	_, flood := p.run(t, TaskConfig{Kernel: "spew.spt"})
	task, _ := p.run(t, TaskConfig{Kernel: "control.spt"})
	must.NoError(t, p.SignalTask(task.ID, "SIGHUP"))
	waitFor(t, "the signal", func() bool { return strings.Contains(console(task), "signal 1\n") })
	must.StrNotContains(t, console(task), "spew")
	must.NoError(t, p.StopTask(task.ID, time.Minute, ""))
	must.True(t, p.wait(t, task).Successful())
	must.True(t, stateOf(t, flood).Guest.Alive())
}

func TestTenants_HangingStartDelaysNoOtherStart(t *testing.T) {
	s := hang(t, Config{})
	s.plugin.useBuiltPrograms(t)
	task, _ := s.plugin.run(t, TaskConfig{Kernel: "hello.spt"})
	must.True(t, s.plugin.wait(t, task).Successful())
	must.NoError(t, unix.Kill(s.executor, 0)) // the other start goes on
	must.NoError(t, s.plugin.StopTask(s.task.ID, time.Minute, ""))
	must.ErrorContains(t, testenv.Receive(t, s.result), errStopped.Error())
}

// The ways in which a task ends: by a fault, a kill of either process, a stop, and
// a forced destruction.
func TestTenants_EndOfATaskLeavesTheOthers(t *testing.T) {
	p := newTestPlugin(t)
	_, handle := p.run(t, TaskConfig{Kernel: "idle.spt"})
	survivor := stateOf(t, handle)
	for _, end := range []func(*drivers.TaskConfig, taskState) error{
		func(_ *drivers.TaskConfig, s taskState) error { return s.Guest.Signal(syscall.SIGSEGV) },
		func(_ *drivers.TaskConfig, s taskState) error { return s.Executor.Signal(syscall.SIGKILL) },
		func(task *drivers.TaskConfig, _ taskState) error { return p.StopTask(task.ID, time.Minute, "") },
		func(*drivers.TaskConfig, taskState) error { return nil },
	} {
		task, handle := p.run(t, TaskConfig{Kernel: "idle.spt"})
		must.NoError(t, end(task, stateOf(t, handle)))
		must.NoError(t, p.DestroyTask(task.ID, true))
		noTrace(t, handle)
	}
	must.True(t, survivor.Guest.Alive())
	must.True(t, survivor.Executor.Alive())
	must.DirExists(t, survivor.Dir)
	must.DirExists(t, cgroupPath(survivor.Cgroup))
}

// The program in the guest is root there, and makes its own frames.
func TestTenants_GuestSendsOnlyFromItsAddress(t *testing.T) {
	for allow, want := range map[bool]string{false: "honest", true: "forged"} {
		p := newTestPluginWith(t, Config{StateDir: t.TempDir(), ImagePaths: []string{guestDir(t)}, AllowSpoofing: allow})
		n := newTestNetwork(t)
		var receiver net.PacketConn
		within(t, n.peer, func(*netlink.Handle) {
			var err error
			receiver, err = net.ListenPacket("udp4", peerIP+":9")
			must.NoError(t, err)
		})
		t.Cleanup(func() { _ = receiver.Close() })
		p.startLinux(t, p.linuxIn(t, n, "spoof.c", TaskConfig{Args: []string{"10.78.0.66", peerIP}}))
		must.NoError(t, receiver.SetReadDeadline(time.Now().Add(testenv.Patience)))
		text := make([]byte, 64)
		size, _, err := receiver.ReadFrom(text)
		must.NoError(t, err)
		must.Eq(t, want, string(text[:size]))
	}
}
