// SPDX-License-Identifier: MPL-2.0

package jail

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
)

// newRoot is where the new root directory is mounted before it becomes the root.
const newRoot = "/dev"

// procSelfFD is the directory of the server's descriptors, in the new root as in the host's.
const procSelfFD = "/proc/self/fd"

// rootOptions limit the file system of the root directory. It contains a file or a directory
// for each share, and three directories.
var rootOptions = fmt.Sprintf("mode=555,size=4k,nr_inodes=%d", files.MaxShares+8)

const restricted = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// enterRoot makes a root directory of the detached mounts of the shares, which it attaches
// as /0, /1 and so on, and of /proc/self/fd alone. Everything else of the host's file system
// is detached. All threads share the root directory.
func enterRoot(plan *files.Plan, mounts []int) error {
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE); err != nil {
		return err
	}
	if err := mountWith("tmpfs", newRoot, "tmpfs", restricted, rootOptions); err != nil {
		return err
	}
	for i, share := range plan.Shares {
		if err := attach(mounts[i], newRoot+"/"+strconv.Itoa(i), share); err != nil {
			return fmt.Errorf("share %d: %w", i, err)
		}
	}
	if err := bindProcSelfFD(); err != nil {
		return err
	}
	if err := mount("", newRoot, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|restricted); err != nil {
		return err
	}
	return pivot()
}

// attach attaches the mounts of a share at a path, which it creates.
func attach(fd int, path string, share files.Share) error {
	kind, err := kindOf(fd)
	if err != nil {
		return err
	}
	if kind == unix.S_IFDIR {
		err = unix.Mkdir(path, 0o555)
	} else {
		err = unix.Mknod(path, unix.S_IFREG|0o444, 0)
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach the mount to %s: %w", path, err)
	}
	if err := restrict(fd, path, share); err != nil {
		return err
	}
	for _, name := range share.ReadOnlyDirs {
		if err := attachReadOnly(fd, path, name, share); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("make %s read-only: %w", name, err)
		}
	}
	return nil
}

// attachReadOnly mounts a directory of a share on itself, so that the kernel refuses to
// write to it, to rename it and to remove it. It returns unix.ENOENT if the
// directory is missing.
func attachReadOnly(share int, path, name string, like files.Share) error {
	dir, err := unix.Openat(share, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer closeAll([]int{dir})
	tree, err := unix.OpenTree(dir, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("copy its mount: %w", err)
	}
	defer closeAll([]int{tree})
	err = unix.MoveMount(tree, "", dir, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("attach the mount: %w", err)
	}
	like.ReadOnly = true
	return restrict(tree, path+"/"+name, like)
}

// bindProcSelfFD makes the directory of this process's descriptors visible, and no other part
// of /proc.
func bindProcSelfFD() error {
	for _, dir := range []string{"/proc", "/proc/self", procSelfFD} {
		if err := unix.Mkdir(newRoot+dir, 0o555); err != nil {
			return fmt.Errorf("create %s: %w", dir, err)
		}
	}
	if err := mount(procSelfFD, newRoot+procSelfFD, "", unix.MS_BIND); err != nil {
		return err
	}
	return mount("", newRoot+procSelfFD, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|restricted)
}

// pivot makes newRoot the root directory and detaches the old one.
func pivot() error {
	if err := unix.Chdir(newRoot); err != nil {
		return fmt.Errorf("enter the new root directory: %w", err)
	}
	err := unix.PivotRoot(".", ".")
	if errors.Is(err, unix.EINVAL) {
		err = fmt.Errorf("%w: the host's root directory must not be the initial RAM disk", err)
	}
	if err != nil {
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

func mount(source, target, kind string, flags uintptr) error {
	return mountWith(source, target, kind, flags, "")
}

func mountWith(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s%s on %s: %w", kind, source, target, err)
	}
	return nil
}
