// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// tree identifies the directory of the host that a call of Tree listed.
type tree struct{ dir string }

// Tree lists a file or directory of the host for Put, with its modes and owners. The name
// is a path below hostDir, or "." for all of hostDir; in the guest it is the same path
// below guestDir. The first File of the result is the named one.
//
// Tree leaves out sockets, FIFOs and devices, and the paths below hostDir for which skip
// returns true, with everything in them; skip may be nil. Put reads the contents later,
// but never from outside of hostDir, even if the tree has changed. Tree follows symlinks
// in the path of hostDir itself. Files that vanish during the call, or before Put reads them,
// are left out.
func Tree(ctx context.Context, hostDir, name, guestDir string, skip func(string) bool) ([]File, error) {
	root, err := os.OpenRoot(hostDir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	l := treeLister{tree: &tree{dir: hostDir}, root: root, guestDir: guestDir, skip: skip}
	if err := l.list(ctx, name); err != nil {
		return nil, fmt.Errorf("list %s: %w", hostDir, err)
	}
	return l.files, nil
}

// treeLister is the state of a call of Tree.
type treeLister struct {
	*tree
	root     *os.Root
	guestDir string
	skip     func(string) bool
	files    []File
}

// list adds the file at a path, and everything in it if it is a directory.
func (l *treeLister) list(ctx context.Context, name string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if name != "." && l.skip != nil && l.skip(name) {
		return nil
	}
	if len(l.files) == maxEntries {
		return fmt.Errorf("more than %d files", maxEntries)
	}
	f, ok, err := l.newFile(l.root, name)
	if name != "." && isGone(err) {
		return nil
	}
	if err != nil || !ok {
		return err
	}
	f.Path = path.Join(l.guestDir, name)
	l.files = append(l.files, f)
	if !f.Mode.IsDir() {
		return nil
	}
	entries, err := readDir(l.root, name)
	if err != nil && !isGone(err) {
		return err
	}
	for _, entry := range entries {
		if err := l.list(ctx, path.Join(name, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// isGone reports whether another process has removed or replaced a file that was listed.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }

// newFile returns the File for a path, without its path in the guest. The result is false
// for types that Put does not support.
func (t *tree) newFile(root *os.Root, name string) (File, bool, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return File{}, false, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return File{}, false, fmt.Errorf("%s: owner unknown", name)
	}
	f := File{Mode: info.Mode(), UID: int(stat.Uid), GID: int(stat.Gid)}
	switch info.Mode().Type() {
	case 0:
		f.Source, f.tree, f.name = filepath.Join(t.dir, name), t, name
	case fs.ModeDir:
	case fs.ModeSymlink:
		if f.Link, err = root.Readlink(name); err != nil {
			return File{}, false, err
		}
	default:
		return File{}, false, nil
	}
	return f, true, nil
}

// readDir lists a directory sorted by name. Unlike fs.ReadDir, it accepts names that are
// not valid UTF-8.
func readDir(root *os.Root, name string) ([]fs.DirEntry, error) {
	// With O_DIRECTORY, a device that has replaced the directory is not opened.
	dir, err := root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}
