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

	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
)

// A fileLock is a lock (flock) on an open file or directory. The kernel frees the lock of a
// process that ends.
type fileLock struct{ file *os.File }

// release frees the lock at once, even while a process that is being started has a copy of
// the descriptor.
func (l fileLock) release() {
	_ = flock(l.file, unix.LOCK_UN) // closing the descriptor has the same effect
	l.file.Close()
}

func flock(f *os.File, how int) error {
	_, err := eintr.Retry(func() (int, error) { return 0, unix.Flock(int(f.Fd()), how) })
	if err != nil {
		return &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return nil
}

// tryFlock is flock that returns false instead of waiting.
func tryFlock(f *os.File, how int) (bool, error) {
	err := flock(f, how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// lockStore waits for the store's lock: unix.LOCK_SH to publish something, unix.LOCK_EX to
// remove something. It is held for file operations only, never for a pull.
func (s *Store) lockStore(how int) (fileLock, error) {
	f, err := os.OpenFile(s.path(lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fileLock{}, err
	}
	if err := flock(f, how); err != nil {
		f.Close()
		return fileLock{}, err
	}
	return fileLock{f}, nil
}

// lockPollInterval is the pause between two attempts to get the lock of an entry that
// another process builds.
const lockPollInterval = 50 * time.Millisecond

// lockEntry waits until no other goroutine or process builds an entry. The file of the lock
// is removed with the lock. It calls waiting before each wait.
func (s *Store) lockEntry(ctx context.Context, key string, waiting func()) (release func(), err error) {
	path := s.path(locksDir, key)
	ticker := time.NewTicker(lockPollInterval)
	defer ticker.Stop()
	for {
		lock, err := tryLockPath(path)
		if err != nil {
			return nil, fmt.Errorf("lock the entry: %w", err)
		}
		if lock != nil {
			return func() {
				os.Remove(path)
				lock.release()
			}, nil
		}
		waiting()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// tryLockPath creates and locks a file. It returns nil if another process has the lock, or
// has just removed the file.
func tryLockPath(path string) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	locked, err := tryFlock(f, unix.LOCK_EX)
	if locked && isAt(f, path) {
		return &fileLock{f}, nil
	}
	f.Close()
	return nil, err
}

// isAt reports whether a path still leads to an open file.
func isAt(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(open, now)
}
