// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
)

// The most files and directories that are taken from one source.
const mostEntries = 1 << 20

// tree is where files of Tree come from.
type tree struct{ dir string }

// Tree lists what is at a name of a directory of the host, "." for all of it, as
// files for Put, with its own modes and owners. It will be at the same name of
// guestDir; the first file is that. Sockets, FIFOs and devices are left out, and so
// is what skip says yes to, by its path below hostDir, with all that is in it; skip
// may be nil. Put reads the contents, and never from outside hostDir, whatever the
// tree has become by then. Where hostDir itself leads to is the caller's to know.
func Tree(hostDir, name, guestDir string, skip func(string) bool) ([]File, error) {
	root, err := os.OpenRoot(hostDir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	l := lister{tree: &tree{dir: hostDir}, root: root, guest: guestDir, skip: skip}
	if err := l.add(name); err != nil {
		return nil, fmt.Errorf("list %s: %w", hostDir, err)
	}
	return l.files, nil
}

// lister is one Tree under way.
type lister struct {
	*tree
	root  *os.Root
	guest string
	skip  func(string) bool
	files []File
}

// add lists what is at a name, and all that is in it if that is a directory.
func (l *lister) add(name string) error {
	if name != "." && l.skip != nil && l.skip(name) {
		return nil
	}
	if len(l.files) == mostEntries {
		return fmt.Errorf("more than %d files", mostEntries)
	}
	f, ok, err := l.file(l.root, name)
	if err != nil || !ok {
		return err
	}
	f.Path = path.Join(l.guest, name)
	l.files = append(l.files, f)
	if !f.Mode.IsDir() {
		return nil
	}
	entries, err := readDir(l.root, name)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := l.add(path.Join(name, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// file makes a File of what is at name; false: nothing that can be put.
func (t *tree) file(root *os.Root, name string) (File, bool, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return File{}, false, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return File{}, false, fmt.Errorf("%s has no owner", name)
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
