// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/e2fsprogs"
)

var (
	// ErrUnclean means that a file system was not unmounted cleanly. The next mount for
	// writing replays its journal.
	ErrUnclean = errors.New("the file system was not unmounted cleanly")
	// ErrErrors means that a kernel has found errors in a file system.
	ErrErrors = errors.New("the file system contains errors")
)

// CheckSuperblock returns ErrKind, ErrFeature or ErrDamaged if a guest cannot use the ext4
// file system in an open file or block device, and otherwise ErrErrors or ErrUnclean if it is
// not in order. It writes nothing.
func CheckSuperblock(f *os.File) error {
	image, err := ext4Of(f)
	switch {
	case err != nil:
		return err
	case image.clean:
		return nil
	case image.needsRecovery && !image.hasErrors:
		return ErrUnclean
	}
	return ErrErrors
}

// The limits of a full check of a clean image, which reads every inode in use and visits every
// group of blocks. An image at both limits takes about 0.1 s.
const (
	fullCheckInodes = 100_000
	fullCheckSize   = 64 << 30 // bytes
)

// Check prepares an image for a mount, like e2fsck at the boot of a Linux distribution, and
// reports whether it has repaired errors. The file must be a regular one, open for reading and
// writing, that nothing else uses.
//
// Check replays the journal. Afterwards, it makes the repairs that e2fsck regards as safe. If
// they do not suffice, it makes none of them and returns ErrDamaged. It tries repairs on a copy
// without a name in dir, which should be on the same file system as the image.
func Check(ctx context.Context, sandbox Sandbox, f *os.File, dir string) (repaired bool, err error) {
	image, err := ext4Of(f)
	if err != nil {
		return false, err
	}
	if err := image.replayJournal(ctx, sandbox); err != nil {
		return false, err
	}
	if image.clean {
		cmd, err := e2fsprogs.Command(ctx, sandbox, e2fsprogs.E2fsck, f, append(image.checkOptions(), e2fsprogs.ImagePath)...)
		if err != nil {
			return false, err
		}
		if err = cmd.Run(); err == nil || e2fsprogs.ExitCode(err) < 0 {
			return false, err
		}
	}
	if err := image.rehearseRepair(ctx, sandbox, dir); err != nil {
		return false, err
	}
	if err := image.repair(ctx, sandbox); err != nil {
		return false, err
	}
	return true, f.Sync()
}

// checkOptions returns e2fsck's options for a check of a clean image. Without -f, e2fsck reads only
// the superblock and the descriptors, unless a full check is due. A kernel that was killed leaves
// old counts of free blocks and inodes in the superblock; e2fsck does not regard them as errors.
func (f *ext4File) checkOptions() []string {
	if f.inodes-f.freeInodes > fullCheckInodes || f.size() > fullCheckSize {
		return []string{"-n"}
	}
	return []string{"-n", "-f"}
}

// rehearseRepair repairs a copy of the image. e2fsck -p may write to an image before it finds
// an error that it does not repair.
func (f *ext4File) rehearseRepair(ctx context.Context, sandbox Sandbox, dir string) error {
	trial, err := newUnnamedFile(dir)
	if err != nil {
		return fmt.Errorf("create a copy for a trial repair: %w", err)
	}
	defer trial.Close()
	if err := copyFile(ctx, f.File, trial, f.fileSize()); err != nil {
		return fmt.Errorf("copy the image for a trial repair: %w", err)
	}
	image, err := ext4Of(trial)
	if err != nil {
		return err
	}
	return image.repair(ctx, sandbox)
}

// fileSize returns the size of a regular file, or 0 if it is unknown.
func (f *ext4File) fileSize() int64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// Enlarge grows an image in an open file to size bytes, rounded down to whole blocks, and
// returns its size. It never shrinks an image. The caller has called Check. ErrReserve: the
// host's file system cannot hold a full disk of this size.
func Enlarge(ctx context.Context, sandbox Sandbox, f *os.File, size int64) (int64, error) {
	image, err := ext4Of(f)
	if err != nil {
		return 0, err
	}
	if size-size%image.blockSize <= image.size() {
		return image.size(), nil
	}
	if err := checkFreeSpace(f, size-image.size()); err != nil {
		return image.size(), err
	}
	if err := image.grow(ctx, sandbox, size); err != nil {
		return image.size(), fmt.Errorf("grow the image from %d to %d MiB: %w", image.size()>>20, size>>20, err)
	}
	if image, err = ext4Of(f); err != nil {
		return 0, err
	}
	return image.size(), f.Sync()
}
