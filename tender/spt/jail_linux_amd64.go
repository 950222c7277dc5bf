// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
)

const (
	signalSetSize    = 8  // size of the kernel's sigset_t, in bytes
	signalActionSize = 32 // size of the kernel's struct sigaction, in bytes
	lastSignal       = 64
)

func checkJail(j tender.Jail) error {
	if (j.UID == 0) != (j.GID == 0) || j.UID < 0 || j.GID < 0 {
		return fmt.Errorf("UID %d and GID %d: set both to positive numbers, or neither", j.UID, j.GID)
	}
	if j.Root != "" && !filepath.IsAbs(j.Root) {
		return fmt.Errorf("root directory %q is not absolute", j.Root)
	}
	return nil
}

// resetSignals resets the signals that are ignored or blocked, because a process
// inherits both through exec. A guest that ignores SIGTERM could not be stopped.
func (t *table) resetSignals() {
	zeros := t.put(make([]byte, signalActionSize))
	for sig := uint64(1); sig <= lastSignal; sig++ {
		if sig != uint64(syscall.SIGKILL) && sig != uint64(syscall.SIGSTOP) {
			t.call(fmt.Sprintf("reset signal %d", sig), unix.SYS_RT_SIGACTION, sig, zeros, 0, signalSetSize)
		}
	}
	t.call("unblock signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, zeros, 0, signalSetSize)
}

// checkParentStep is the name of the step that notices the death of the parent.
const checkParentStep = "check that the parent is alive"

// dropPrivileges gives up the root directory, user, capabilities and limits, and
// makes the process die with the thread that started it.
//
// The order matters. chroot(2) and the changes of user and groups need
// capabilities. A change of user resets PR_SET_PDEATHSIG (prctl(2)).
func (t *table) dropPrivileges(j tender.Jail) {
	needsRoot := advice{syscall.EPERM: "only root can do this"}
	if j.Root != "" {
		t.add(step{
			name: "change the root directory to " + j.Root, number: unix.SYS_CHROOT,
			args: args{t.cString(j.Root)}, advice: needsRoot,
		})
		t.call("enter the root directory", unix.SYS_CHDIR, t.cString("/"))
	}
	if j.UID != 0 {
		uid, gid := uint64(j.UID), uint64(j.GID)
		t.add(step{name: "drop supplementary groups", number: unix.SYS_SETGROUPS, advice: needsRoot})
		t.add(step{name: fmt.Sprintf("change the group to %d", gid), number: unix.SYS_SETRESGID, args: args{gid, gid, gid}, advice: needsRoot})
		t.add(step{name: fmt.Sprintf("change the user to %d", uid), number: unix.SYS_SETRESUID, args: args{uid, uid, uid}, advice: needsRoot})
	}
	header := t.uint64s(unix.LINUX_CAPABILITY_VERSION_3)
	t.call("drop all capabilities", unix.SYS_CAPSET, header, t.uint64s(0, 0, 0))
	if j.DieWithParent {
		t.dieWithParent()
	}
	// This prevents core files, and ptrace(2) and /proc/PID/mem by other
	// processes of the same user.
	t.call("make the process undumpable", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
	none := t.uint64s(0, 0)
	for _, limit := range []uint64{unix.RLIMIT_CORE, unix.RLIMIT_NOFILE, unix.RLIMIT_NPROC} {
		t.call(fmt.Sprintf("set resource limit %d to 0", limit), unix.SYS_PRLIMIT64, 0, limit, none, 0)
	}
	t.call("name the process", unix.SYS_PRCTL, unix.PR_SET_NAME, t.cString("spt-guest"))
}

// dieWithParent requests SIGKILL for the moment that the parent dies, and then checks
// that the parent is alive. A parent that died before the request would otherwise
// leave a guest that nothing supervises. The end of the status pipe does not reveal
// that: a thread of the dying parent may still hold its reader open.
func (t *table) dieWithParent() {
	t.call("request SIGKILL when the parent dies", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uint64(syscall.SIGKILL))
	t.add(step{
		name: checkParentStep, number: unix.SYS_GETPPID, want: uint64(os.Getpid()),
		advice: advice{unexpectedResult: "the tender was killed"},
	})
}

// closeAndUnmap closes every descriptor above the status pipe, and unmaps
// everything except the guest's memory and the launcher. The kernel keeps the
// vsyscall page; the filter applies to calls through it.
func (t *table) closeAndUnmap(memory, status uint64) {
	t.add(step{
		name: "close the tender's files", number: unix.SYS_CLOSE_RANGE, args: args{status + 1, uint64(^uint32(0)), 0},
		advice: advice{syscall.ENOSYS: "Linux 5.9 or newer is needed"},
	})
	t.call("unmap the memory below the guest", unix.SYS_MUNMAP, 0, guestBase)
	t.call("unmap the memory above the guest", unix.SYS_MUNMAP, memory, launcherBase-memory)
	t.call("unmap stack and vdso", unix.SYS_MUNMAP, launcherBase+pageSize, taskEnd-launcherBase-pageSize)
}

// installFilter reports success through the status pipe, closes it, and installs
// the filter. These three steps come last: after the filter, the process can make
// only the guest's calls.
//
// The kernel needs PR_SET_NO_NEW_PRIVS for a filter that an unprivileged process
// installs (seccomp(2)). SECCOMP_GET_ACTION_AVAIL checks that the kernel knows
// KILL_PROCESS: older ones would kill only the thread.
func (t *table) installFilter(p bpf.Program, status uint64) {
	program := t.uint64s(uint64(len(p)), t.put(p.Encode())) // struct sock_fprog
	killProcess := t.uint64s(unix.SECCOMP_RET_KILL_PROCESS)
	ready := t.put([]byte{readyByte})

	t.call("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	noFilter := "a kernel with CONFIG_SECCOMP_FILTER is needed"
	t.add(step{
		name: "check for seccomp", number: unix.SYS_SECCOMP, args: args{unix.SECCOMP_GET_ACTION_AVAIL, 0, killProcess},
		advice: advice{syscall.ENOSYS: noFilter, syscall.EINVAL: noFilter, syscall.EOPNOTSUPP: noFilter},
	})
	t.add(step{name: "report that the guest begins", number: unix.SYS_WRITE, args: args{status, ready, 1}, want: 1})
	t.call("close the status pipe", unix.SYS_CLOSE, status)
	t.call("install the system call filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, program)
}
