// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/landlock"
)

// newRoot is where the new root directory is mounted before it becomes the root. Only this
// thread sees the mount, and devices disappear under it.
const newRoot = "/dev"

// enterPrivateRoot gives the calling thread and its children a root directory that contains
// only the executables, the libraries and the thread's own processes in /proc. Everything is
// read-only. A program in it can reach other files only through the descriptors that it
// gets, which are not directories.
func enterPrivateRoot(executables []string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: %w, and only root can replace it: run as root", ErrUnsupported, landlock.ErrUnsupported)
	}
	if err := buildRoot(executables); err != nil {
		return fmt.Errorf("%w: %w, and its replacement failed: %w", ErrUnsupported, landlock.ErrUnsupported, err)
	}
	return nil
}

func buildRoot(executables []string) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare the mount namespace: %w", err)
	}
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount("tmpfs", newRoot, "tmpfs", flags, "mode=755,size=64k"); err != nil {
		return err
	}
	for _, path := range libraryPaths {
		if err := bindReadOnly(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, path := range executables {
		if err := bindReadOnly(path); err != nil {
			return err
		}
	}
	proc := newRoot + "/proc"
	if err := os.Mkdir(proc, 0o755); err != nil {
		return err
	}
	if err := mount("proc", proc, "proc", flags|unix.MS_NOEXEC, "hidepid=invisible,subset=pid"); err != nil {
		return err
	}
	if err := mount("", newRoot, "", unix.MS_REMOUNT|unix.MS_RDONLY|flags, ""); err != nil {
		return err
	}
	return pivot()
}

// bindReadOnly makes a file or directory of the host visible in the new root directory. It
// does nothing if a directory that is already visible contains the file.
func bindReadOnly(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	target := filepath.Join(newRoot, path)
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if info.IsDir() {
		err = os.Mkdir(target, 0o755)
	} else {
		err = os.WriteFile(target, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := mount(path, target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
}

// pivot makes newRoot the root directory and detaches the old one.
func pivot() error {
	if err := unix.Chdir(newRoot); err != nil {
		return fmt.Errorf("enter the new root directory: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the old root directory: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter the root directory: %w", err)
	}
	return nil
}

func mount(source, target, fsType string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, fsType, flags, data); err != nil {
		return fmt.Errorf("mount %s%s on %s: %w", fsType, source, target, err)
	}
	return nil
}
