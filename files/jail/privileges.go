// SPDX-License-Identifier: MPL-2.0

package jail

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/landlock"
)

// rootCapabilities are those of a server with UID 0. With them root changes files of other
// users, as a task of the exec driver with user root does.
const rootCapabilities = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID

// SetupCapabilities are those that a server needs at its start, as a bit set.
const SetupCapabilities = rootCapabilities |
	1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID

// maxOpenFiles limits the descriptors of the server: one for each file that the guest knows
// or has open.
const maxOpenFiles = 65536

// setLimits sets the resource limits and the umask of this process.
func setLimits() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("get the limit of open files: %w", err)
	}
	limit.Max = min(limit.Max, maxOpenFiles)
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit open files: %w", err)
	}
	for _, resource := range []int{unix.RLIMIT_CORE, unix.RLIMIT_MEMLOCK, unix.RLIMIT_MSGQUEUE} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{}); err != nil {
			return fmt.Errorf("set resource limit %d: %w", resource, err)
		}
	}
	unix.Umask(0) // the guest applies its own
	return nil
}

// dropPrivileges changes all threads of this process to the user of the plan. It leaves
// rootCapabilities to root, and no capability to other users.
//
// The order matters: the bounding set and the user can be changed only with capabilities.
func dropPrivileges(plan *files.Plan) error {
	if err := onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	var keep uint32
	if plan.UID == 0 {
		keep = rootCapabilities
	}
	if err := dropBoundingSet(keep); err != nil {
		return err
	}
	uid, gid := int(plan.UID), int(plan.GID)
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("drop the supplementary groups: %w", err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("change the group to %d: %w", gid, err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("change the user to %d: %w", uid, err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	sets := [2]unix.CapUserData{{Effective: keep, Permitted: keep}}
	err := onAllThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])))
	if err != nil {
		return fmt.Errorf("drop the capabilities: %w", err)
	}
	// This keeps other processes of the same user from tracing the server. /proc/self/fd
	// stays usable, because a process may always look up its own descriptors.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the process undumpable: %w", err)
	}
	return nil
}

// dropBoundingSet removes all other capabilities from the bounding set. The executor has
// already removed those that neither the guest nor this program needs: a call on all threads
// takes a tenth of a millisecond.
func dropBoundingSet(keep uint32) error {
	for c := range uintptr(64) {
		if c < 32 && keep&(1<<c) != 0 {
			continue
		}
		present, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // the kernel knows no further capabilities
		}
		if present == 0 {
			continue
		}
		if err := onAllThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c); err != nil {
			return fmt.Errorf("remove capability %d from the bounding set: %w", c, err)
		}
	}
	return nil
}

const (
	readRights = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	// writeFileRights are the rights to change that apply to a file.
	writeFileRights = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	writeDirRights  = unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_REFER
)

// restrictFiles denies everything but the shares by Landlock. It creates no device nodes,
// executes nothing, and opens no network. A kernel without Landlock is no error: the root
// directory and the system call filter remain.
func restrictFiles(plan *files.Plan, roots []int) error {
	ruleset := landlock.Ruleset{Rules: make([]landlock.Rule, len(roots))}
	for i, fd := range roots {
		kind, err := kindOf(fd)
		if err != nil {
			return err
		}
		rights := uint64(readRights)
		if !plan.Shares[i].ReadOnly {
			rights |= writeFileRights | writeDirRights
		}
		if kind == unix.S_IFREG {
			rights &= unix.LANDLOCK_ACCESS_FS_READ_FILE | writeFileRights
		}
		ruleset.Rules[i] = landlock.Rule{FD: fd, Access: rights}
	}
	fd, err := ruleset.Open()
	if errors.Is(err, landlock.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return onAllThreads(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(fd))
}

// onAllThreads makes a system call on each thread of this process, because the kernel keeps
// privileges for each thread. It fails in a program that uses cgo.
func onAllThreads(number uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, errno := syscall.AllThreadsSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}
