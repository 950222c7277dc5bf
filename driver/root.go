// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

const (
	// roomInRoot is what is left free on a root disk that is made from a
	// directory or tar without a rootfs_size, in bytes. Disks are sparse: room
	// that is not used costs nothing.
	roomInRoot = 64 << 20
	// sectorSize is the block size that guests' disks are given, in bytes: LKL
	// guests of 2020 read 512 at a time, and every guest can use it.
	sectorSize = 512
	// extraPerFile is what a file put into an image may take besides its
	// content, in bytes: the rest of its last block and its name.
	extraPerFile = 2 * disk.BlockSize
)

// makeRoot gives the task a private copy of its root disk, with the task's own
// files in it where the guest is Linux.
func (s *start) makeRoot() error {
	if s.kernel.diskDevice() == "" {
		return nil
	}
	src, err := openSource(s.task, s.d.config.ImagePaths, s.job.Rootfs)
	if err != nil {
		return fmt.Errorf("rootfs: %w", err)
	}
	defer src.Close()

	var files []disk.File
	if s.kernel.flavor == unikernel.FlavorLKL {
		files, err = rootFiles(s.task, s.addresses, []*source{s.kernel.source, src})
		if err != nil {
			return err
		}
	}
	path := filepath.Join(s.dir, diskFile)
	if err := s.copyRoot(src, path, needs(files)); err != nil {
		return fmt.Errorf("rootfs: %w", withAdvice(src.rename(err)))
	}
	if len(files) > 0 {
		if err := disk.Put(s.ctx, path, files); err != nil {
			return fmt.Errorf("rootfs: put the task's files into it: %w", withAdvice(err))
		}
	}
	return s.openDisk(path)
}

// withAdvice tells what helps where a disk is too small.
func withAdvice(err error) error {
	if errors.Is(err, disk.ErrNoSpace) {
		return fmt.Errorf("%w: set a larger rootfs_size", err)
	}
	return err
}

// copyRoot makes the disk at path from what the job names.
func (s *start) copyRoot(src *source, path string, extra int64) error {
	size, err := s.rootSize()
	if err != nil {
		return err
	}
	kind, err := disk.Kind(src.path())
	raw := errors.Is(err, disk.ErrKind) && s.kernel.flavor == unikernel.FlavorSolo5
	switch {
	case raw:
		return copyRaw(s.ctx, src, path, size)
	case err != nil:
		return err
	case kind == disk.Ext4:
		if err := disk.Copy(s.ctx, src.path(), path); err != nil {
			return err
		}
		if size > src.info.Size() {
			return disk.Grow(s.ctx, path, size)
		}
		return nil
	}
	s.d.events.tell(s.task, fmt.Sprintf("Building the root disk from the %s %s", kind, src.name), nil)
	return disk.Build(s.ctx, src.path(), path, disk.BuildOptions{
		Size: size, Room: roomInRoot + extra, Shared: inSharedDir(s.job.Rootfs),
	})
}

// rootSize is the job's rootfs_size in bytes, 0 if it sets none.
func (s *start) rootSize() (int64, error) {
	if s.job.RootfsSize == "" {
		return 0, nil
	}
	return parseSize(s.job.RootfsSize)
}

// copyRaw copies a disk whose content is the guest's own matter, and makes it
// whole sectors.
func copyRaw(ctx context.Context, src *source, path string, size int64) error {
	if err := disk.Copy(ctx, src.path(), path); err != nil {
		return err
	}
	size = max(size, src.info.Size(), 1)
	size = (size + sectorSize - 1) / sectorSize * sectorSize
	if err := os.Truncate(path, size); err != nil {
		return fmt.Errorf("size the disk: %w", err)
	}
	return nil
}

// needs is the room that files take, in bytes.
func needs(files []disk.File) int64 {
	var sum int64
	for _, f := range files {
		sum += extraPerFile + int64(len(f.Content))
		if f.Source == "" {
			continue
		}
		if info, err := os.Lstat(f.Source); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// openDisk opens the disk as the job's rootfs_sync says. Where that counts at
// all, it also brings to the host's disk what the guest is given.
func (s *start) openDisk(path string) error {
	flags := os.O_RDWR
	if s.job.RootfsSync == syncWriteThrough {
		flags |= unix.O_DSYNC
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return fmt.Errorf("open the root disk: %w", err)
	}
	s.closeLater(f)
	if s.job.RootfsSync == syncFlush || s.job.RootfsSync == syncWriteThrough {
		// The disk, its name in the task's directory, and that one's name.
		for _, p := range []string{path, s.dir, filepath.Dir(s.dir)} {
			if err := syncFile(p); err != nil {
				return fmt.Errorf("bring the root disk to the host's disk: %w", err)
			}
		}
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at the root disk: %w", err)
	}
	s.disk, s.diskSize = f, uint64(info.Size())/sectorSize*sectorSize
	return nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
