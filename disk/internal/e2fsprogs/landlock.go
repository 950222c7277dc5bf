// SPDX-License-Identifier: MPL-2.0

package e2fsprogs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrConfine means that the kernel cannot confine a tool to a directory, because it
// lacks Landlock (CONFIG_SECURITY_LANDLOCK, Linux 5.13).
var ErrConfine = errors.New("the kernel has no Landlock to confine mke2fs to the directory: use a tar archive instead")

// runtimePaths are the files that any dynamically linked program has to read.
var runtimePaths = []string{"/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/ld.so.preload", os.DevNull}

// restrictReading lets the calling thread and its children read only files below dir,
// the image, and the files of runtimePaths. They cannot read through a symbolic link that
// leads out of dir, even if it appears later. After ErrConfine, the thread is unrestricted.
//
// The Landlock libraries of Go restrict every thread of the process (libcap/psx), so
// this function makes the system calls itself.
func restrictReading(dir, image *os.File) error {
	ruleset, err := createRuleset()
	if err != nil {
		return err
	}
	defer unix.Close(ruleset)
	for _, path := range runtimePaths {
		f, err := os.OpenFile(path, unix.O_PATH, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = allowReading(ruleset, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	if err := errors.Join(allowReading(ruleset, dir), allowReading(ruleset, image)); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); errno != 0 {
		return fmt.Errorf("landlock_restrict_self: %w", errno)
	}
	return nil
}

// createRuleset creates a Landlock ruleset that denies reading of all files.
func createRuleset() (int, error) {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_READ_FILE}
	// The first version of Landlock knows only the first field.
	size := unsafe.Sizeof(attr.Handled_access_fs)
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return -1, fmt.Errorf("%w (%w)", ErrConfine, errno)
	}
	return int(fd), nil
}

// allowReading adds a rule that allows reading f, or the files below it.
func allowReading(ruleset int, f *os.File) error {
	attr := unix.LandlockPathBeneathAttr{Allowed_access: unix.LANDLOCK_ACCESS_FS_READ_FILE, Parent_fd: int32(f.Fd())}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("allow to read %s: landlock_add_rule: %w", f.Name(), errno)
	}
	return nil
}
