// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/procfd"
)

// NewOptions describe an empty disk.
type NewOptions struct {
	Size int64 // bytes, rounded down to blocks
	// UID and GID own the root directory of the file system.
	UID, GID uint32
	Sandbox  Sandbox
}

// Create creates an empty ext4 image in a directory. The image appears when it is complete
// and synced to disk, as a sparse file of mode 0600. fs.ErrExist: the name is in use.
// ErrReserve: the file system of the directory cannot hold a full disk of this size.
func Create(ctx context.Context, dir *os.File, name string, o NewOptions) error {
	out, err := newPendingFile(filepath.Join(procfd.SelfPath(dir), name))
	if err != nil {
		return err
	}
	defer out.discard()
	if err := Format(ctx, out.File, o); err != nil {
		return fmt.Errorf("create the image %s: %w", name, err)
	}
	if err := out.commit(); err != nil {
		return err
	}
	return dir.Sync()
}

// Format creates an empty ext4 file system in an open file, which must be empty: IsEmpty. If
// it fails, it removes everything that it has written.
func Format(ctx context.Context, f *os.File, o NewOptions) error {
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if err := formatFile(ctx, f, o); err != nil {
		return errors.Join(err, f.Truncate(0), f.Truncate(before.Size()))
	}
	return nil
}

func formatFile(ctx context.Context, f *os.File, o NewOptions) error {
	if err := checkFreeSpace(f, o.Size); err != nil {
		return err
	}
	g, err := planGeometry(usage{}, BuildOptions{Size: o.Size})
	if err != nil {
		return err
	}
	if err := f.Truncate(g.blocks * BlockSize); err != nil {
		return err
	}
	id := identity{args: []string{"-U", randomUUID()}, owner: fmt.Sprintf("%d:%d", o.UID, o.GID)}
	if err := format(ctx, f, g, id, o.Sandbox); err != nil {
		return err
	}
	return f.Sync()
}

// randomUUID returns a UUID of version 4 (RFC 9562). mke2fs would need a random device,
// which its sandbox lacks.
func randomUUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// IsEmpty reports whether a regular file has no content: no bytes, or only a hole. It moves
// the file's offset.
func IsEmpty(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false, err
	}
	_, err = f.Seek(0, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return true, nil
	}
	return false, err
}

// CreateRaw creates a disk of zeros in a directory, as a sparse file of mode 0600. The errors
// are those of Create.
func CreateRaw(dir *os.File, name string, size int64) error {
	out, err := newPendingFile(filepath.Join(procfd.SelfPath(dir), name))
	if err != nil {
		return err
	}
	defer out.discard()
	if err := EnlargeRaw(out.File, size); err != nil {
		return fmt.Errorf("create the disk %s: %w", name, err)
	}
	if err := out.commit(); err != nil {
		return err
	}
	return dir.Sync()
}

// EnlargeRaw adds a hole to the end of a file. ErrReserve: the host's file system cannot hold
// a full disk of this size.
func EnlargeRaw(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := checkFreeSpace(f, size-info.Size()); err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	return f.Sync()
}
