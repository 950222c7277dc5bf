// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/procfd"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
)

// copyChunk is the number of bytes that are copied between two checks of the
// context.
const copyChunk = 8 << 20

// Copy copies a file to dst, which must not exist. Where the file system supports it
// (Btrfs, XFS), the copy shares the blocks of the file. Elsewhere Copy copies the data and
// keeps the holes. dst appears when it is complete, with mode 0600. It is not synced to
// disk.
func Copy(ctx context.Context, src, dst string) error {
	in, err := safeopen.Open(src, os.O_RDONLY, safeopen.Regular)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := newPendingFile(dst)
	if err != nil {
		return err
	}
	defer out.discard()
	if err := copyFile(ctx, in, out.File, info.Size()); err != nil {
		return fmt.Errorf("copy %s to %s: %w", src, dst, err)
	}
	return out.commit()
}

func copyFile(ctx context.Context, in, out *os.File, size int64) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return nil
	}
	if err := out.Truncate(size); err != nil {
		return err
	}
	for r, err := range dataRanges(in, byteRange{0, size}) {
		if err != nil {
			return err
		}
		if err := copyRange(ctx, in, out, r, r.from); err != nil {
			return err
		}
	}
	return nil
}

// copyRange copies a range to an offset of out, with copy_file_range where the file systems
// support it.
func copyRange(ctx context.Context, in, out *os.File, r byteRange, at int64) error {
	for r.from < r.to {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		want := min(r.to-r.from, copyChunk)
		if err := checkFreeSpace(out, want); err != nil {
			return err
		}
		from, to := r.from, at
		n, err := unix.CopyFileRange(int(in.Fd()), &from, int(out.Fd()), &to, int(want), 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			var copied int64
			copied, err = io.CopyN(io.NewOffsetWriter(out, at), io.NewSectionReader(in, r.from, want), want)
			n = int(copied)
		}
		if n == 0 && err == nil {
			err = io.ErrUnexpectedEOF // the file has been truncated
		}
		if err != nil {
			return err
		}
		r.from += int64(n)
		at += int64(n)
	}
	return nil
}

// Install copies an open file to a name in a directory. The name appears when the copy is
// complete and synced to disk. fs.ErrExist: the name is in use.
func Install(ctx context.Context, in *os.File, dir *os.File, name string) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := newPendingFile(filepath.Join(procfd.SelfPath(dir), name))
	if err != nil {
		return err
	}
	defer out.discard()
	if err := copyFile(ctx, in, out.File, info.Size()); err != nil {
		return fmt.Errorf("copy to %s: %w", name, err)
	}
	if err := out.Sync(); err != nil {
		return err
	}
	if err := out.commit(); err != nil {
		return err
	}
	return dir.Sync()
}
