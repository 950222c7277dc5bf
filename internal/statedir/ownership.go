// SPDX-License-Identifier: MPL-2.0

package statedir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxSymlinks is the number of symbolic links in a path that the kernel follows
// (path_resolution(7)).
const maxSymlinks = 40

var errRootDir = errors.New("the state directory cannot be /: choose a directory for the driver alone, such as " +
	Default)

// Check checks that only root can write to the state directory, or replace it or a
// directory or symbolic link in its path. The path may end in missing directories.
func Check(path string) error { return walk(path, false) }

// Create creates the missing directories in the path of the state directory, and makes
// the checks of Check.
func Create(path string) error { return walk(path, true) }

// walk checks each directory and symbolic link in a path, from the root on. No
// other user can change the part that has been checked, so that part is the same when
// the path is used.
func walk(path string, create bool) error {
	at, rest := "/", elements(path)
	if err := checkOwnership(at, false); err != nil {
		return err
	}
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0]) // at contains no symlink, so ".." is its parent
		rest = rest[1:]
		if _, err := os.Lstat(next); errors.Is(err, fs.ErrNotExist) {
			if !create {
				return nil
			}
			if err := os.Mkdir(next, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		if err := checkOwnership(next, len(rest) == 0); err != nil {
			return err
		}
		target, err := os.Readlink(next)
		if err != nil { // it is a directory
			at = next
			continue
		}
		if links++; links > maxSymlinks {
			return fmt.Errorf("%s: %w", path, syscall.ELOOP)
		}
		rest = append(elements(target), rest...)
		if filepath.IsAbs(target) {
			at = "/"
		}
	}
	if at == "/" {
		return errRootDir
	}
	return nil
}

// elements splits a path. It leaves out empty elements.
func elements(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// checkOwnership checks that only root can change a directory or symbolic link in the
// path of the state directory. Others may create files in a directory with the sticky
// bit, such as /tmp, because they cannot replace root's files there. They may not do so
// in the state directory itself, the last one of the path.
func checkOwnership(path string, last bool) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner is unknown", path)
	}
	isLink := info.Mode().Type() == fs.ModeSymlink
	const writableByOthers = 0o022
	switch {
	case !info.IsDir() && !isLink:
		return fmt.Errorf("%s is not a directory", path)
	case stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user %d, who could read or replace the tasks' files: "+
			"choose another path, or run chown -h root %s", path, stat.Uid, path)
	case isLink || info.Mode().Perm()&writableByOthers == 0:
		return nil
	case info.Mode()&fs.ModeSticky != 0 && !last:
		return nil
	case info.Mode()&fs.ModeSticky != 0:
		return fmt.Errorf("users other than root can write to %s: choose a directory for the driver alone, such as %s",
			path, filepath.Join(path, "nomad-driver-lkl"))
	}
	return fmt.Errorf("%s has mode %#o, so users other than root could replace the tasks' files: "+
		"choose another path, or run chmod go-w %s", path, info.Mode().Perm(), path)
}
