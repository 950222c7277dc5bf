// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/landlock"
)

// confine takes from this process everything that it no longer needs once the guest runs.
// From then on it works only with descriptors that are already open.
//
// Three layers do the same in part, for hosts that lack one: another user, Landlock, and a
// system call filter. A kernel without Landlock is no error. All threads are confined,
// and later threads inherit it.
func (t *task) confine() error {
	if err := t.giveUpRoot(); err != nil {
		return err
	}
	if err := t.restrictFiles(); err != nil && !errors.Is(err, landlock.ErrUnsupported) {
		return fmt.Errorf("restrict the executor with Landlock: %w", err)
	}
	if err := filter(os.Getpid(), t.pidfd).InstallFilter(); err != nil {
		return fmt.Errorf("install the executor's system call filter: %w", err)
	}
	return nil
}

// uidOffset is the distance from a guest's UID to its executor's. It is twice the largest
// number of PIDs (1<<22), because the tools of package disk use the range between.
const uidOffset = 2 << 22

// giveUpRoot changes this process to a separate user without capabilities if the guest has
// a separate user. Otherwise it only drops all capabilities.
//
// The real UID is the guest's. That alone lets this process signal the guest, and lets the
// kernel kill the guest when this process dies: the kernel checks the dying parent's
// permission to send PR_SET_PDEATHSIG.
func (t *task) giveUpRoot() error {
	// It is inherited by later threads, and Landlock and seccomp require it.
	if err := onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if t.uid == 0 {
		return dropCapabilities()
	}
	user := t.uid + uidOffset
	if err := t.handOver(user); err != nil {
		return fmt.Errorf("give the task's files to user %d: %w", user, err)
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("drop the supplementary groups: %w", err)
	}
	if err := syscall.Setresgid(user, user, user); err != nil {
		return fmt.Errorf("change the group to %d: %w", user, err)
	}
	// A change of all UIDs from root to others clears the capabilities.
	if err := syscall.Setresuid(t.uid, user, user); err != nil {
		return fmt.Errorf("change the user to %d: %w", user, err)
	}
	return nil
}

// handOver gives the files that this process still changes to a user, who may also rename
// and remove them. The sticky bit keeps that user from renaming and removing the files
// of root in the same directory, which plugins trust.
func (t *task) handOver(user int) error {
	const rootAndGroup = unix.S_ISVTX | 0o770
	socket := unix.Fchownat(t.dir.fd, SocketFile, user, user, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(socket, os.ErrNotExist) { // the directory has been removed
		socket = nil
	}
	return errors.Join(
		socket,
		unix.Fchown(t.exitFile.FD, user, user),
		unix.Fchown(t.droppedFD, user, user),
		t.handOverFilesFile(user),
		unix.Fchown(t.dir.fd, -1, user),
		unix.Fchmod(t.dir.fd, rootAndGroup),
	)
}

// handOverFilesFile is handOver for FilesFile, which not every task has.
func (t *task) handOverFilesFile(user int) error {
	if t.files.endedFD < 0 {
		return nil
	}
	return unix.Fchown(t.files.endedFD, user, user)
}

func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	err := onAllThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])))
	if err != nil {
		return fmt.Errorf("drop the capabilities: %w", err)
	}
	return nil
}

// restrictFiles lets this process rename and remove files of the task's directory, and
// opens no other file and no network to it.
//
// Landlock's scope of signals must not apply: the guest, which was started before, lies
// outside of it.
func (t *task) restrictFiles() error {
	const rename = unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE
	fd, err := landlock.Ruleset{
		Rules:   []landlock.Rule{{FD: t.dir.fd, Access: rename}},
		Signals: true,
	}.Open()
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
