// SPDX-License-Identifier: MPL-2.0

package testenv

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/osthread"
)

// OnSmallDisk calls f with the directory of an empty file system of 64 KiB, which
// only the calling thread sees. It returns the error of f, which must not fail the
// test itself: it runs in another goroutine.
func OnSmallDisk(t *testing.T, f func(dir string) error) error {
	t.Helper()
	Need(t, Root)
	dir := t.TempDir()
	return osthread.Run(func() error {
		err := errors.Join(
			unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_FS),
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("none", dir, "tmpfs", 0, "size=64k"),
		)
		if err != nil {
			return err
		}
		return f(dir)
	})
}

// FillDisk writes to a new file in the directory until the disk is full.
func FillDisk(dir string) error {
	f, err := os.Create(filepath.Join(dir, "full"))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if errors.Is(err, unix.ENOSPC) {
		return nil
	}
	return err
}
