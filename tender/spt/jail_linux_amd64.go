// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"fmt"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
)

const (
	signalSetSize    = 8  // bytes of a sigset_t of the kernel's
	signalActionSize = 32 // bytes of its struct sigaction
	lastSignal       = 64
)

func checkJail(j tender.Jail) error {
	if (j.UID == 0) != (j.GID == 0) || j.UID < 0 || j.GID < 0 {
		return fmt.Errorf("user %d, group %d: give both or none", j.UID, j.GID)
	}
	if j.Root != "" && !filepath.IsAbs(j.Root) {
		return fmt.Errorf("root directory %q is not absolute", j.Root)
	}
	return nil
}

// resetSignals undoes what a process inherits even through exec: signals that
// are ignored or blocked. A guest that ignored SIGTERM could not be stopped.
func (t *table) resetSignals() {
	zeros := t.put(make([]byte, signalActionSize))
	for sig := uint64(1); sig <= lastSignal; sig++ {
		if sig != uint64(syscall.SIGKILL) && sig != uint64(syscall.SIGSTOP) {
			t.call(fmt.Sprintf("resetting signal %d", sig), unix.SYS_RT_SIGACTION, sig, zeros, 0, signalSetSize)
		}
	}
	t.call("unblocking signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, zeros, 0, signalSetSize)
}

// dropPrivileges gives up root directory, user, capabilities and limits, and
// ties the process to the thread that started it. The order matters: chroot
// and the change of user take capabilities, and that change unties.
func (t *table) dropPrivileges(j tender.Jail) {
	asRoot := map[syscall.Errno]string{syscall.EPERM: "only root can do this"}
	if j.Root != "" {
		t.call("changing the root directory to "+j.Root, unix.SYS_CHROOT, t.text(j.Root)).advice = asRoot
		t.call("entering the root directory", unix.SYS_CHDIR, t.text("/"))
	}
	if j.UID != 0 {
		uid, gid := uint64(j.UID), uint64(j.GID)
		t.call("dropping all other groups", unix.SYS_SETGROUPS, 0, 0).advice = asRoot
		t.call(fmt.Sprintf("becoming group %d", gid), unix.SYS_SETRESGID, gid, gid, gid).advice = asRoot
		t.call(fmt.Sprintf("becoming user %d", uid), unix.SYS_SETRESUID, uid, uid, uid).advice = asRoot
	}
	header := t.words(unix.LINUX_CAPABILITY_VERSION_3)
	t.call("dropping all capabilities", unix.SYS_CAPSET, header, t.words(0, 0, 0))
	if j.DieWithParent {
		t.call("asking to die with the parent", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uint64(syscall.SIGKILL))
	}
	// No core file, no ptrace or /proc/PID/mem by others of the same user.
	t.call("forbidding dumps", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
	none := t.words(0, 0)
	for _, limit := range []uint64{unix.RLIMIT_CORE, unix.RLIMIT_NOFILE, unix.RLIMIT_NPROC} {
		t.call(fmt.Sprintf("setting limit %d to 0", limit), unix.SYS_PRLIMIT64, 0, limit, none, 0)
	}
	t.call("naming the process", unix.SYS_PRCTL, unix.PR_SET_NAME, t.text("spt-guest"))
}

// leave unmaps and closes everything that is not the guest's, the launcher and
// the status descriptor apart.
func (t *table) leave(memory, status uint64) {
	t.call("closing the tender's files", unix.SYS_CLOSE_RANGE, status+1, uint64(^uint32(0)), 0).
		advice = map[syscall.Errno]string{syscall.ENOSYS: "Linux 5.9 or newer is needed"}
	t.call("unmapping the zero page", unix.SYS_MUNMAP, 0, guestBase)
	t.call("unmapping what lies behind the guest", unix.SYS_MUNMAP, memory, launcherBase-memory)
	t.call("unmapping stack and vdso", unix.SYS_MUNMAP, launcherBase+pageSize, taskEnd-launcherBase-pageSize)
}

// confine says that all is well, closes the status descriptor, and installs
// the filter: the last system call that is not the guest's own.
func (t *table) confine(p program, status uint64) {
	prog := t.words(uint64(len(p)), t.put(p.encode())) // struct sock_fprog
	kill := t.words(unix.SECCOMP_RET_KILL_PROCESS)
	ready := t.put([]byte{readyByte})

	t.call("giving up new privileges", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	noFilter := "a kernel with CONFIG_SECCOMP_FILTER is needed"
	t.call("looking for the system call filter", unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, kill).
		advice = map[syscall.Errno]string{syscall.ENOSYS: noFilter, syscall.EINVAL: noFilter, syscall.EOPNOTSUPP: noFilter}
	t.call("telling that the guest begins", unix.SYS_WRITE, status, ready, 1).want = 1
	t.call("closing the status pipe", unix.SYS_CLOSE, status)
	t.call("installing the system call filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, prog)
}
