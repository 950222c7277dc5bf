// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/procfd"
)

// pendingFile is a file that gets its name when it is complete. Until then it has no name
// where the file system supports that (O_TMPFILE), and vanishes with its descriptor.
// Elsewhere it has a temporary name that begins with ".lkl-".
//
// Unlike internal/atomicfile, it is written piece by piece and never replaces a file.
type pendingFile struct {
	*os.File
	path          string
	temporaryName string // "" for a file without a name
}

// newPendingFile begins the file at a path. fs.ErrExist: the path is in use.
func newPendingFile(path string) (*pendingFile, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	dir := filepath.Dir(path)
	if fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err == nil {
		return &pendingFile{File: os.NewFile(uintptr(fd), path), path: path}, nil
	}
	f, err := os.CreateTemp(dir, ".lkl-*")
	if err != nil {
		return nil, err
	}
	return &pendingFile{File: f, path: path, temporaryName: f.Name()}, nil
}

// newUnnamedFile returns a new file in a directory that vanishes with its descriptor.
func newUnnamedFile(dir string) (*os.File, error) {
	p, err := newPendingFile(filepath.Join(dir, ".lkl-unnamed"))
	if err != nil {
		return nil, err
	}
	if p.temporaryName != "" {
		err = os.Remove(p.temporaryName)
	}
	return p.File, err
}

// commit gives the file its name and closes it. fs.ErrExist: the path is in use.
func (p *pendingFile) commit() error {
	defer p.discard()
	if p.temporaryName != "" {
		return os.Link(p.temporaryName, p.path)
	}
	err := unix.Linkat(unix.AT_FDCWD, procfd.SelfPath(p.File), unix.AT_FDCWD, p.path, unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return fmt.Errorf("link %s: %w", p.path, err)
	}
	return nil
}

// discard closes the file. A file that has not been committed vanishes.
func (p *pendingFile) discard() {
	p.Close()
	if p.temporaryName != "" {
		os.Remove(p.temporaryName)
	}
}
