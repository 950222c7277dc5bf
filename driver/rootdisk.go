// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

const (
	// freeSpace is the free space in bytes on a root disk that is built from a
	// directory or tar without a rootfs_size. Disks are sparse, so unused space
	// costs nothing.
	freeSpace = 64 << 20
	// spacePerFile is the space in bytes that a file may need in addition to its
	// content: the rest of its last block, and its name.
	spacePerFile = 2 * disk.BlockSize
)

// A rootDisk is a task's private root disk.
type rootDisk struct {
	file *os.File
	size uint64 // bytes, a multiple of the block size
	sync string // as rootfs_sync
	// readOnly is set if the guest cannot write to the disk. It then gets entropy in its
	// configuration, and the files etc in other ways.
	readOnly bool
	entropy  []byte
	etc      []disk.File // that the disk lacks
}

// Close closes the plugin's descriptor. The executor has its own. Close does
// nothing for nil.
func (r *rootDisk) Close() {
	if r != nil {
		_ = r.file.Close() // nothing was written through it
	}
}

// makeRootDisk creates the task's private copy of its rootfs, or of its image's root. For an
// LKL guest it adds the task's files. It returns nil for a kernel without a block device.
func (d *Driver) makeRootDisk(ctx context.Context, j job, dir taskDir, k *kernel, a addresses) (*rootDisk, error) {
	if k.diskDevice(&j.config) == "" {
		return nil, nil
	}
	src, err := d.openRoot(j)
	if err != nil {
		return nil, fmt.Errorf("rootfs: %w", err)
	}
	defer src.Close()

	files, err := d.rootFiles(ctx, j, k, a, src)
	if err != nil {
		return nil, err
	}
	root := rootCopy{src: src, flavor: k.flavor, files: files}
	if j.config.RootfsPersist != "" {
		o := d.persistOpener(j, dir, k)
		disk, err := d.openPersistentRoot(ctx, o, root)
		if err != nil {
			return nil, fmt.Errorf("rootfs_persist: %w", err)
		}
		disk.sync = o.config.Sync
		return disk, nil
	}
	if j.config.hasReadOnlyRoot() {
		disk, err := d.openReadOnlyRoot(ctx, j, dir, root)
		if err != nil {
			return nil, fmt.Errorf("rootfs: %w", err)
		}
		return disk, nil
	}
	if err := d.copyRoot(ctx, j, dir, root); err != nil {
		return nil, fmt.Errorf("rootfs: %w", withDiskAdvice(src.wrap(err), src.name))
	}
	path := filepath.Join(dir.path, diskFile)
	if len(files) > 0 {
		err := disk.CheckFreeSpace(dir.path, spaceFor(files, allocated))
		if err == nil {
			err = disk.Put(ctx, dir.sandbox(), path, files)
		}
		if err != nil {
			return nil, fmt.Errorf("rootfs: add the task's files to the copy of %s: %w", src.name, withDiskAdvice(err, src.name))
		}
	}
	return openRootDisk(path, j.config.RootfsSync)
}

// rootFiles returns the files that the driver adds to the root disk of an LKL guest.
func (d *Driver) rootFiles(ctx context.Context, j job, k *kernel, a addresses, src *jobFile) ([]disk.File, error) {
	if k.flavor != unikernel.FlavorLKL {
		return nil, nil
	}
	resolver := newGuestResolver(j.task.DNS, a)
	for _, warning := range resolver.warnings {
		d.events.emit(j.task, warning, nil)
	}
	files, err := guestFiles(j, a, resolver)
	if err == nil && k.hasLiveFiles() && !j.config.hasReadOnlyRoot() {
		files = append(files, directories(taskMountPoints...)...)
	}
	if err != nil || k.hasLiveFiles() || j.config.RootfsFormat == formatISO9660 {
		return files, err
	}
	disks := d.diskFiles(j)
	defer closeAll(disks)
	copies, err := taskFiles(ctx, j, append(disks, k.jobFile, src, j.image.localFile()))
	copies, refused := disk.Usable(copies)
	if len(refused) > 0 {
		d.events.emit(j.task, fmt.Sprintf("The guest does not get %d files of the task's directories, such as: %v", len(refused), refused[0]), nil)
	}
	return append(files, copies...), err
}

// openRoot opens the job's rootfs, or the root of its image.
func (d *Driver) openRoot(j job) (*jobFile, error) {
	if j.image == nil {
		return openJobFile(j.task, d.config.ImagePaths, j.config.Rootfs)
	}
	return j.image.openRoot()
}

// sandbox confines the tools that work on the task's disk to the task's resources.
func (t taskDir) sandbox() disk.Sandbox { return disk.Sandbox{Cgroup: t.record.Cgroup} }

// withDiskAdvice adds the remedy to the errors of package disk. name is that of the kernel,
// the rootfs or the image in the job.
func withDiskAdvice(err error, name string) error {
	switch {
	case errors.Is(err, disk.ErrNoSpace):
		return fmt.Errorf("%w: set a larger rootfs_size", err)
	case errors.Is(err, disk.ErrTooLarge):
		return fmt.Errorf("%w: use a smaller rootfs, or raise max_rootfs_size in the client's plugin config", err)
	case errors.Is(err, disk.ErrReserve):
		return fmt.Errorf("%w: remove files from the file system of state_dir, or move state_dir to a larger one", err)
	case errors.Is(err, disk.ErrName):
		return fmt.Errorf("%w: rename the file, or remove it", err)
	case errors.Is(err, disk.ErrDamaged), errors.Is(err, disk.ErrErrors):
		return fmt.Errorf("%w: check %s with e2fsck -f", err, name)
	}
	return err
}

// A rootCopy is a root disk that copyRoot creates.
type rootCopy struct {
	src    *jobFile // the job's rootfs
	flavor unikernel.Flavor
	files  []disk.File // that are added later
}

// copyRoot creates the disk in dir from the job's rootfs.
func (d *Driver) copyRoot(ctx context.Context, j job, dir taskDir, c rootCopy) error {
	src, path := c.src, filepath.Join(dir.path, diskFile)
	size, err := j.config.rootSize()
	if err != nil {
		return err
	}
	limit, err := d.config.maxRootfsSize()
	if err != nil {
		return err
	}
	if src.info.Mode().IsRegular() && src.info.Size() > limit {
		return fmt.Errorf("%w: %s has %d MiB, and may have %d MiB", disk.ErrTooLarge, src.name, src.info.Size()>>20, limit>>20)
	}
	// The disk is sparse, so this promises nothing, but no disk can ever have such a size.
	if err := disk.CheckFreeSpace(dir.path, size); err != nil && size > 0 {
		return fmt.Errorf("rootfs_size %s: %w", j.config.RootfsSize, err)
	}
	kind, err := disk.KindOf(src.path())
	raw := errors.Is(err, disk.ErrKind) && c.flavor == unikernel.FlavorSolo5
	switch {
	case raw:
		return copyRaw(ctx, src, path, size)
	case err != nil:
		return err
	case kind == disk.Ext4:
		trusted := j.image != nil // the driver has built it
		if !trusted && (c.flavor == unikernel.FlavorLKL || size > src.info.Size()) {
			// The same check follows on the copy. This one saves making a copy in vain.
			if err := disk.CheckImage(src.path()); err != nil {
				return err
			}
		}
		if err := disk.Copy(ctx, src.path(), path); err != nil {
			return err
		}
		if size > src.info.Size() {
			return disk.Grow(ctx, dir.sandbox(), path, size)
		}
		return nil
	}
	d.events.emit(j.task, fmt.Sprintf("Building the root disk from the %s %s", kind, src.name), nil)
	return disk.Build(ctx, src.path(), path, disk.BuildOptions{
		Size: size, Room: freeSpace + spaceFor(c.files, fs.FileInfo.Size), Max: limit, Sandbox: dir.sandbox(),
	})
}

// rootSize returns the rootfs_size in bytes, or 0 if it is not set.
func (t *TaskConfig) rootSize() (int64, error) {
	if t.RootfsSize == "" {
		return 0, nil
	}
	return parseSize(t.RootfsSize)
}

// copyRaw copies a disk whose content only the guest understands. It pads the
// copy to whole blocks.
func copyRaw(ctx context.Context, src *jobFile, path string, size int64) error {
	if err := disk.Copy(ctx, src.path(), path); err != nil {
		return err
	}
	const block = tender.MinBlockSize
	size = max(size, src.info.Size(), 1)
	size = (size + block - 1) / block * block
	if err := os.Truncate(path, size); err != nil {
		return fmt.Errorf("set the size of the disk: %w", withoutPath(err))
	}
	return nil
}

// spaceFor returns the space in bytes that files need on a disk. size returns that of the
// content of a file of the host.
func spaceFor(files []disk.File, size func(fs.FileInfo) int64) int64 {
	var sum int64
	for _, f := range files {
		sum += spacePerFile + int64(len(f.Content))
		if f.Source == "" {
			continue
		}
		if info, err := os.Lstat(f.Source); err == nil {
			sum += size(info)
		}
	}
	return sum
}

// allocated returns the size in bytes of a file without its holes.
func allocated(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		const unit = 512 // of Blocks, see stat(2)
		return min(info.Size(), stat.Blocks*unit)
	}
	return info.Size()
}

// openRootDisk opens the disk for the job's rootfs_sync. If the mode makes the
// guest's writes durable, the disk's initial content is flushed first.
func openRootDisk(path, sync string) (*rootDisk, error) {
	flags := os.O_RDWR
	if sync == syncWriteThrough {
		flags |= unix.O_DSYNC
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, fmt.Errorf("open the root disk: %w", err)
	}
	if sync == syncFlush || sync == syncWriteThrough {
		err = syncWithParents(path)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("flush the root disk: %w", err)
	}
	root, err := newRootDisk(f)
	if err == nil {
		root.sync = sync
	}
	return root, err
}

// newRootDisk returns the root disk in an open file. It closes the file if it fails.
func newRootDisk(f *os.File) (*rootDisk, error) {
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	// Every guest can use the smallest block size, and legacy LKL guests read 512
	// bytes at a time.
	const block = tender.MinBlockSize
	return &rootDisk{file: f, size: uint64(info.Size()) / block * block}, nil
}

// syncWithParents flushes a task's disk, its name in the task's directory, and
// the name of that directory.
func syncWithParents(path string) error {
	dir := filepath.Dir(path)
	for _, p := range []string{path, dir, filepath.Dir(dir)} {
		if err := syncFile(p); err != nil {
			return err
		}
	}
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
