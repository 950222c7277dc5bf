// SPDX-License-Identifier: MPL-2.0

// Package statedir checks the directory in which the driver keeps the files of tasks and
// images.
package statedir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
)

// Default is the default of the plugin's option state_dir.
const Default = "/var/lib/nomad-driver-lkl"

// CheckFileSystem makes the checks of CheckMount and CheckSpace.
func CheckFileSystem(path string) error {
	if err := CheckMount(path); err != nil {
		return err
	}
	return CheckSpace(path)
}

// CheckMount checks that the file system of a state directory is mounted with the options
// that tasks need. It writes nothing. The path may end in missing directories.
func CheckMount(path string) error {
	path, stat, err := Statfs(path)
	switch {
	case err != nil:
		return err
	case stat.Flags&unix.ST_RDONLY != 0:
		return fmt.Errorf("%s is on a read-only file system: mount it with the option rw", path)
	case stat.Flags&unix.ST_NOEXEC != 0:
		return fmt.Errorf("%s is on a file system with the option noexec, but the executor and the tasks' kernels run from there: "+
			"mount it with the option exec", path)
	}
	return nil
}

// CheckSpace checks that the file system of a state directory has space for more tasks.
// It writes nothing. The path may end in missing directories.
//
// The errors contain no figures that change while the fault stays: the driver's health
// contains them, and Nomad's servers receive every new text.
func CheckSpace(path string) error {
	path, stat, err := Statfs(path)
	switch {
	case err != nil:
		return err
	case stat.Files > 0 && stat.Ffree == 0:
		return fmt.Errorf("the file system of %s has no free inodes: remove files", path)
	}
	err = disk.CheckFreeSpace(path, 0)
	if errors.Is(err, disk.ErrReserve) {
		return fmt.Errorf("the file system of %s is full: remove files until 5 %% of it, or 1 GiB, are free", path)
	}
	return err
}

// Statfs returns the state of the file system of a path, or of its first parent that
// exists. It also returns the path of that directory.
func Statfs(path string) (string, unix.Statfs_t, error) {
	for {
		var stat unix.Statfs_t
		err := unix.Statfs(path, &stat)
		if err == nil {
			return path, stat, nil
		}
		parent := filepath.Dir(path)
		if !errors.Is(err, fs.ErrNotExist) || parent == path {
			return path, stat, fmt.Errorf("read the state of the file system of %s: %w", path, err)
		}
		path = parent
	}
}
