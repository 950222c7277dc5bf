// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
)

// An Entry is a cached unikernel. It stays in the cache until Close, and as long as its
// kernel has another hard link.
type Entry struct {
	// Digest is the digest of the image's manifest, such as "sha256:…".
	Digest   string
	Config   spec.Config
	Accounts spec.Accounts

	// KernelPath is the path of the kernel in the image.
	KernelPath string
	// KernelFile is the path of the kernel on the host. The file must not be changed. A
	// task that runs it makes a hard link to it before Close.
	KernelFile string
	// KernelDigest is the SHA-256 of the kernel, in hexadecimal.
	KernelDigest string
	// RootFile is the path of the root disk on the host: an ext4 image without the kernel,
	// with RootRoom bytes of free space. It must not be changed. It is "" if the kernel
	// has no block device. A kernel with a block device has a root disk even if the image
	// contains no other file: it would not start without one.
	RootFile string

	// Cached reports that Get found the entry, and read no layer.
	Cached bool

	dir *os.File // has the lock
}

// RootRoom is the free space in bytes of a root disk. Disks are sparse, so unused space
// costs nothing.
const RootRoom = 64 << 20

// Close allows the garbage collection to remove the entry, unless a task uses it.
func (e *Entry) Close() error {
	if e.dir == nil {
		return nil
	}
	fileLock{e.dir}.release()
	e.dir = nil
	return nil
}

// entryKey names an entry.
func entryKey(digest, kernelPath string) string {
	return hexOf(fmt.Sprintf("version %d", formatVersion), digest, kernelPath)
}

// pin locks an entry's directory against its removal. fs.ErrNotExist: there is no entry.
// errDamaged: it is not a directory.
func (s *Store) pin(key string) (*os.File, error) {
	path := s.path(entriesDir, key)
	for {
		dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if isNoDirectory(err) {
			return nil, fmt.Errorf("%w: %s is not a directory", errDamaged, key)
		}
		if err != nil {
			return nil, err
		}
		if err := flock(dir, unix.LOCK_SH); err != nil {
			dir.Close()
			return nil, err
		}
		if isAt(dir, path) {
			return dir, nil
		}
		dir.Close() // it has just been removed
	}
}

// isNoDirectory reports whether opening a directory failed because it is a file or a symlink.
func isNoDirectory(err error) bool { return errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) }

// lookup returns a cached entry of an image, and pins it. fs.ErrNotExist: it is missing. A
// damaged entry is removed, and its error wraps errDamaged or errVersion.
func (s *Store) lookup(ctx context.Context, image *imageInfo, kernelPath string) (*Entry, error) {
	key := entryKey(image.Digest, kernelPath)
	dir, err := s.pin(key)
	if err != nil {
		return nil, err
	}
	info, err := s.check(ctx, key, image.Digest, kernelPath)
	if err != nil {
		defer fileLock{dir}.release()
		if isBroken(err) {
			return nil, errors.Join(err, s.discard(key, dir))
		}
		return nil, err
	}
	e := &Entry{
		Digest: image.Digest, Config: image.Config, Accounts: info.Accounts,
		KernelPath: kernelPath, KernelFile: s.path(entriesDir, key, kernelName), KernelDigest: info.Kernel.Digest,
		dir: dir,
	}
	if info.Root != nil {
		e.RootFile = s.path(entriesDir, key, rootName)
	}
	if err := touch(dir); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// isBroken reports whether an entry is unusable, and must be built again.
func isBroken(err error) bool { return errors.Is(err, errDamaged) || errors.Is(err, errVersion) }

// check reads an entry's record and verifies its files.
func (s *Store) check(ctx context.Context, key, digest, kernelPath string) (*entryInfo, error) {
	var info entryInfo
	err := readRecord(s.path(entriesDir, key, entryRecord), &info)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s is missing", errDamaged, entryRecord)
	case err != nil:
		return nil, err
	case info.Digest != digest || info.KernelPath != kernelPath:
		return nil, fmt.Errorf("%w: %s belongs to another image", errDamaged, entryRecord)
	}
	if err := s.verify(ctx, key, info.files()); err != nil {
		return nil, err
	}
	return &info, nil
}

// touch records the last use of an entry.
func touch(dir *os.File) error {
	now := time.Now().UnixNano()
	times := []unix.Timeval{unix.NsecToTimeval(now), unix.NsecToTimeval(now)}
	_, err := eintr.Retry(func() (int, error) { return 0, unix.Futimes(int(dir.Fd()), times) })
	if err != nil {
		return &fs.PathError{Op: "set the time of", Path: dir.Name(), Err: err}
	}
	return nil
}

// discard removes a broken entry that the caller has pinned. Tasks that have a link to its
// kernel keep the kernel. If other starts have pinned the entry too, the garbage collection
// removes its files.
func (s *Store) discard(key string, dir *os.File) error {
	moved, err := s.moveAway(key, dir)
	if err != nil || moved == "" {
		return err
	}
	if unused, err := tryFlock(dir, unix.LOCK_EX); err != nil || !unused {
		return err
	}
	return os.RemoveAll(moved)
}

// moveAway moves an entry out of entries/, and returns its new path. It returns "" if the
// entry at the path is another one by now.
func (s *Store) moveAway(key string, dir *os.File) (string, error) {
	lock, err := s.lockStore(unix.LOCK_EX)
	if err != nil {
		return "", err
	}
	defer lock.release()
	if !isAt(dir, s.path(entriesDir, key)) {
		return "", nil
	}
	return s.moveToBuilds(key)
}

// moveToBuilds moves an entry to a new name in builds/. The caller has the store's exclusive
// lock.
func (s *Store) moveToBuilds(key string) (string, error) {
	place, err := os.MkdirTemp(s.path(buildsDir), key+".")
	if err != nil {
		return "", err
	}
	err = os.Remove(place) // a file, which is a broken entry, does not replace a directory
	if err == nil {
		err = os.Rename(s.path(entriesDir, key), place)
	}
	return place, err
}
