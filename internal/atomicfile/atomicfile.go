// SPDX-License-Identifier: MPL-2.0

// Package atomicfile replaces files as a whole: a reader sees the old content
// or the new one, never a part of either.
//
// The content is first written to NAME.new in the same directory. A NAME.new
// that a killed writer left behind is overwritten. Unlike package os, this
// package registers no descriptor with the runtime's poller, which saves memory
// in the executor.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
)

// TemporarySuffix is appended to a file's name while its content is incomplete.
const TemporarySuffix = ".new"

// Write replaces the file at path. When it returns nil, the file survives a power
// loss and has exactly the permissions perm, regardless of the umask. Writers of
// the same directory wait for each other, in other processes too.
func Write(path string, data []byte, perm fs.FileMode) error {
	dirFD, err := LockDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dirFD) }()
	if err := WriteAt(dirFD, filepath.Base(path), data, perm); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// LockDir opens a directory and waits for other writers. Closing the descriptor ends the
// lock.
func LockDir(dir string) (int, error) {
	fd, err := eintr.Retry(func() (int, error) {
		return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	_, err = eintr.Retry(func() (int, error) { return 0, unix.Flock(fd, unix.LOCK_EX) })
	if err != nil {
		_ = unix.Close(fd)
		return -1, &fs.PathError{Op: "lock", Path: dir, Err: err}
	}
	return fd, nil
}

// WriteAt is Write for a file in an open directory. The caller makes sure that
// nothing else writes the file at the same time.
func WriteAt(dirFD int, name string, data []byte, perm fs.FileMode) error {
	return replace(dirFD, name, data, perm, true)
}

// WriteAtNoSync is WriteAt without waiting for the disk. The file survives the
// end of the process; after a power loss it may be missing or empty.
func WriteAtNoSync(dirFD int, name string, data []byte, perm fs.FileMode) error {
	return replace(dirFD, name, data, perm, false)
}

// A Reservation is an open temporary file for one later write. The write needs no permission
// to open files, and no disk space up to the reserved size.
type Reservation struct {
	FD    int // of the temporary file
	dirFD int
	name  string
}

// ReserveAt creates the temporary file of the next write of a file, and allocates its disk
// space. File systems without fallocate(2) allocate nothing.
func ReserveAt(dirFD int, name string, size int64) (Reservation, error) {
	const perm = 0o600
	fd, err := create(dirFD, name+TemporarySuffix, perm)
	if err != nil {
		return Reservation{}, err
	}
	_, err = eintr.Retry(func() (int, error) { return 0, unix.Fallocate(fd, 0, 0, size) })
	if errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	if err := errors.Join(err, unix.Fchmod(fd, perm)); err != nil {
		return Reservation{}, errors.Join(fmt.Errorf("allocate %d bytes for %s: %w", size, name, err), unix.Close(fd))
	}
	return Reservation{FD: fd, dirFD: dirFD, name: name}, nil
}

// Write replaces the file with the reserved one, as WriteAt does. Call it once.
func (r Reservation) Write(data []byte) error {
	err := fill(r.FD, data)
	if err == nil {
		err = fsync(r.FD)
	}
	if err := errors.Join(err, unix.Close(r.FD)); err != nil {
		return fmt.Errorf("write %s: %w", r.name+TemporarySuffix, err)
	}
	return rename(r.dirFD, r.name, true)
}

func replace(dirFD int, name string, data []byte, perm fs.FileMode, durable bool) (err error) {
	temporary := name + TemporarySuffix
	fd, err := create(dirFD, temporary, perm)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(dirFD, temporary, 0)
		}
	}()
	// The descriptor is closed before the rename, so that a program under its
	// final name is never open for writing, which would make execve fail.
	err = fill(fd, data)
	if err == nil {
		err = unix.Fchmod(fd, uint32(perm.Perm()))
	}
	if err == nil && durable {
		err = fsync(fd)
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("write %s: %w", temporary, err)
	}
	return rename(dirFD, name, durable)
}

// rename gives the temporary file of a name its final name.
func rename(dirFD int, name string, durable bool) error {
	temporary := name + TemporarySuffix
	if err := unix.Renameat(dirFD, temporary, dirFD, name); err != nil {
		return fmt.Errorf("rename %s to %s: %w", temporary, name, err)
	}
	if durable {
		if err := fsync(dirFD); err != nil {
			return fmt.Errorf("sync the directory of %s: %w", name, err)
		}
	}
	return nil
}

// create opens a temporary file, which may exist. It follows no symbolic link.
func create(dirFD int, name string, perm fs.FileMode) (int, error) {
	fd, err := eintr.Retry(func() (int, error) {
		return unix.Openat(dirFD, name, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(perm.Perm()))
	})
	if err != nil {
		return -1, fmt.Errorf("create %s: %w", name, err)
	}
	return fd, nil
}

// fill gives the file its content. It writes before it truncates: blocks that
// ReserveAt allocated are used, not released.
func fill(fd int, data []byte) error {
	size := int64(len(data))
	for len(data) > 0 {
		n, err := eintr.Retry(func() (int, error) { return unix.Write(fd, data) })
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return unix.Ftruncate(fd, size)
}

func fsync(fd int) error {
	_, err := eintr.Retry(func() (int, error) { return 0, unix.Fsync(fd) })
	return err
}
