// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/e2fsprogs"
)

// repair makes the repairs that Linux distributions make at boot, also in an image that is
// marked as clean.
func (f *ext4File) repair(ctx context.Context, sandbox Sandbox) error {
	return f.runE2fsck(ctx, sandbox, "-f", e2fsprogs.ImagePath)
}

// replayJournal applies the journal of an image that was not unmounted cleanly. Otherwise
// the next mount would apply it over the changes of debugfs.
func (f *ext4File) replayJournal(ctx context.Context, sandbox Sandbox) error {
	if !f.needsRecovery {
		return nil
	}
	return f.runE2fsck(ctx, sandbox, "-E", "journal_only", e2fsprogs.ImagePath)
}

// e2fsckCorrected is the exit status of e2fsck after it has corrected errors: e2fsck(8).
const e2fsckCorrected = 1

// runE2fsck runs e2fsck -p, which makes only safe repairs. Unlike e2fsck -y, it never
// uses a backup superblock, which this package does not check. Afterwards it reads and
// checks the superblock again.
func (f *ext4File) runE2fsck(ctx context.Context, sandbox Sandbox, args ...string) error {
	if f.needsRecovery {
		if err := f.checkJournaledSuperblocks(ctx); err != nil {
			return err
		}
	}
	before, err := f.Stat()
	if err != nil {
		return err
	}
	cmd, err := e2fsprogs.Command(ctx, sandbox, e2fsprogs.E2fsck, f.File, append([]string{"-p"}, args...)...)
	if err != nil {
		return err
	}
	if err := cmd.Run(); err != nil && e2fsprogs.ExitCode(err) != e2fsckCorrected {
		return fmt.Errorf("repair the image: %w", err)
	}
	// e2fsck follows a journal that writes to blocks beyond the file system's end.
	after, err := f.Stat()
	if err == nil && after.Size() != before.Size() {
		err = fmt.Errorf("its journal writes beyond its end: %w", ErrDamaged)
	}
	if err == nil {
		f.superblock, err = readSuperblock(f.File)
	}
	if err != nil {
		return fmt.Errorf("repair the image: %w", err)
	}
	return nil
}

// checkJournaledSuperblocks refuses an image if any of its blocks contains a superblock
// with an external journal, or with mmp, which makes e2fsck wait. The journal can replace
// the primary superblock by such a block, and e2fsck reads it as soon as the journal is
// replayed.
//
// Blocks outside of the journal count, too: this package does not parse the journal.
func (f *ext4File) checkJournaledSuperblocks(ctx context.Context) error {
	chunk := make([]byte, max(1<<20, f.blockSize))
	for r, err := range dataRanges(f.File, byteRange{0, f.size()}) {
		if err == nil {
			err = f.checkSuperblocksIn(ctx, r, chunk)
		}
		if err != nil {
			return fmt.Errorf("search for superblocks in the journal: %w", err)
		}
	}
	return nil
}

// checkSuperblocksIn checks the blocks of a range. It reads them into chunk, and nothing
// more: a sparse image can have a million ranges.
func (f *ext4File) checkSuperblocksIn(ctx context.Context, r byteRange, chunk []byte) error {
	inBlock := superblockOffset % f.blockSize
	end := divideUp(r.to, f.blockSize) * f.blockSize
	for at := r.from - r.from%f.blockSize; at < end; at += int64(len(chunk)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := f.ReadAt(chunk[:min(int64(len(chunk)), end-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for start := inBlock; start+superblockSize <= int64(n); start += f.blockSize {
			if err := f.checkPossibleSuperblock(chunk[start : start+superblockSize]); err != nil {
				return fmt.Errorf("block %d: %w", (at+start)/f.blockSize, err)
			}
		}
	}
	return nil
}

// checkPossibleSuperblock returns nil for content that e2fsck would not accept as a
// superblock of this image.
func (f *ext4File) checkPossibleSuperblock(raw []byte) error {
	s := parseSuperblock(raw)
	if s.magic != extMagic || s.revision > 1 || s.logBlockSize != f.logBlockSize || s.inodesPerGroup == 0 || s.blocks == 0 {
		return nil
	}
	if s.incompat&incompatMMP != 0 {
		return checkFeatureSet("incompat", incompatMMP, incompatRefused)
	}
	return s.checkJournal()
}
