// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse means that another process has locked a disk.
var ErrInUse = errors.New("the disk is in use")

const (
	// lockTimeout is the time that a guest may take to end after it was killed: the
	// kernel frees its memory first, and closes its files last.
	lockTimeout = 3 * time.Second
	lockPause   = 10 * time.Millisecond
)

// Lock locks a disk for one user, or for any number of users that only read it. The lock
// (flock) belongs to the open file: processes that inherit the file share it, and it ends
// when the last of them closes the file. Systemd-udevd respects it, too.
func Lock(ctx context.Context, f *os.File, shared bool) error {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return ErrInUse
		}
	}
}
