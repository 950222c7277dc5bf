// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrConfine says that the kernel cannot keep a tool inside a directory: it
// lacks Landlock (CONFIG_SECURITY_LANDLOCK, Linux 5.13).
var ErrConfine = errors.New("the kernel has no Landlock to keep mke2fs inside the directory")

// What a program reads that has to run, beside its own input.
var forAnyProgram = []string{"/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/ld.so.preload", os.DevNull}

// confine has this thread, and what it starts, read no file but those below dir,
// and image: a symbolic link that leads elsewhere is of no use then, whenever it
// came to be there. ErrConfine: nothing has changed.
func confine(dir, image *os.File) error {
	rules, err := newRules()
	if err != nil {
		return err
	}
	defer unix.Close(rules)
	for _, path := range forAnyProgram {
		f, err := os.OpenFile(path, unix.O_PATH, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = allowReading(rules, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	if err := errors.Join(allowReading(rules, dir), allowReading(rules, image)); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(rules), 0, 0); errno != 0 {
		return fmt.Errorf("restrict reading: %w", errno)
	}
	return nil
}

// newRules makes a set of rules for the reading of files, which allows none.
func newRules() (int, error) {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_READ_FILE}
	// The first field is all that the oldest Landlock knows.
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0)
	if errno != 0 {
		return -1, fmt.Errorf("%w (%w)", ErrConfine, errno)
	}
	return int(fd), nil
}

func allowReading(rules int, f *os.File) error {
	attr := unix.LandlockPathBeneathAttr{Allowed_access: unix.LANDLOCK_ACCESS_FS_READ_FILE, Parent_fd: int32(f.Fd())}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(rules), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("allow to read %s: %w", f.Name(), errno)
	}
	return nil
}

// startConfined starts a tool that writes an image, its first extra file, and
// reads a directory, its second. Unless it has to be confined, it runs also where
// it cannot be.
func startConfined(mustBe bool) func(*exec.Cmd) error {
	return func(cmd *exec.Cmd) error {
		return startWith(cmd, func() error {
			err := confine(cmd.ExtraFiles[1], cmd.ExtraFiles[0])
			if errors.Is(err, ErrConfine) && !mustBe {
				return nil
			}
			return err
		})
	}
}
