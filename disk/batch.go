// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"errors"
	"os"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/debugfs"
	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/e2fsprogs"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
)

// Limits of one batch.
const (
	batchSlots    = 64       // files whose content is in memory
	maxBatchData  = 4 << 20  // bytes of content in memory
	maxBatchLines = 32 << 10 // bytes of commands
	maxIdleSlot   = 64 << 10 // bytes of memory that a slot keeps for its next content
)

// slotMode is the least mode of a slot: debugfs runs as another user.
const slotMode = 0o444

// A batch is a series of debugfs commands and the files that they read. debugfs inherits
// the files when it starts, and reopens them for each command.
type batch struct {
	lines     []string
	lineBytes int
	memory    []*slot
	disk      *slot // for a file that is too large for memory
	used      int   // slots of memory
	diskUsed  bool
	bytes     int64 // of content
}

// A slot is a file with content for debugfs.
type slot struct {
	*os.File
	path string // for debugfs
	size int64  // of the content
	mode uint32 // permissions, 0 if they have not been set
}

// newBatches returns batches whose files are in memory, except for large files in dir.
func newBatches(n int, dir string) (batches []*batch, err error) {
	var inherited int
	newSlot := func(f *os.File) *slot {
		inherited++
		return &slot{File: f, path: e2fsprogs.FilePath(inherited - 1)}
	}
	for range n {
		b := &batch{}
		batches = append(batches, b)
		for range batchSlots {
			// setMode gives it the permissions of a program. Where vm.memfd_noexec is 1,
			// the kernel permits that only for an executable memfd.
			f, err := memfd.NewExecutable("content", nil)
			if err != nil {
				return batches, err
			}
			b.memory = append(b.memory, newSlot(f))
		}
		f, err := newUnnamedFile(dir)
		if err != nil {
			return batches, err
		}
		b.disk = newSlot(f)
	}
	return batches, nil
}

// slotFiles returns the files of batches in the order of their paths.
func slotFiles(batches []*batch) []*os.File {
	var files []*os.File
	for _, b := range batches {
		for _, s := range b.memory {
			files = append(files, s.File)
		}
		if b.disk != nil {
			files = append(files, b.disk.File)
		}
	}
	return files
}

func closeBatches(batches []*batch) {
	for _, f := range slotFiles(batches) {
		f.Close()
	}
}

func (b *batch) add(line string) {
	b.lines = append(b.lines, line)
	b.lineBytes += len(line)
}

func (b *batch) isFull() bool { return b.lineBytes >= maxBatchLines || b.bytes >= maxBatchData }

// hasSlot reports whether takeSlot returns a slot for content of this size.
func (b *batch) hasSlot(size int64) bool {
	if size > maxBatchData {
		return !b.diskUsed
	}
	return b.used < len(b.memory)
}

func (b *batch) takeSlot(size int64) *slot {
	b.bytes += size
	if size > maxBatchData {
		b.diskUsed = true
		return b.disk
	}
	s := b.memory[b.used]
	s.size = size
	b.used++
	return s
}

// reset empties the batch.
func (b *batch) reset() error {
	var errs []error
	for _, s := range b.memory[:b.used] {
		if s.size > maxIdleSlot {
			errs = append(errs, s.Truncate(maxIdleSlot))
		}
	}
	if b.diskUsed {
		errs = append(errs, b.disk.Truncate(0))
	}
	b.lines, b.lineBytes, b.used, b.bytes, b.diskUsed = b.lines[:0], 0, 0, 0, false
	return errors.Join(errs...)
}

// run runs the batch on an image.
func (b *batch) run(session *debugfs.Session, image *os.File) error {
	if err := checkFreeSpace(image, b.bytes); err != nil {
		return err
	}
	return session.RunBatch(b.lines)
}

// setContent replaces the content of a slot.
func (s *slot) setContent(content string) error {
	_, err := s.WriteAt([]byte(content), 0)
	return errors.Join(err, s.Truncate(int64(len(content))), s.setMode(slotMode))
}

// setMode sets the permissions of a slot.
func (s *slot) setMode(perm uint32) error {
	if s.mode == perm {
		return nil
	}
	s.mode = perm
	return s.Chmod(os.FileMode(perm))
}
