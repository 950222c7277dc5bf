// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// scratchPrefix begins the names of disks without a source in a task's directory.
const scratchPrefix = "disk-"

// openDisks opens the disks of the disk blocks, creates missing ones, and locks them for as
// long as their files are open.
func (d *Driver) openDisks(ctx context.Context, j job, dir taskDir, k *kernel) (disks dataDisks, err error) {
	defer func() {
		if err != nil {
			disks.Close()
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(j.config.Disks)) {
		config := j.config.Disks[name]
		config.Sync = config.syncOf(k.kernelInfo)
		o := diskOpener{d, j, dir, k, config}
		f, err := o.open(ctx, name)
		if err != nil {
			return disks, fmt.Errorf("%s: %w", describeDisk(name, config.Source), err)
		}
		opened := dataDisk{name: name, config: config, file: f, offer: k.offer(name, config.Sync)}
		disks = append(disks, opened)
		rest, err := disks[len(disks)-1].measure()
		if err != nil {
			return disks, fmt.Errorf("%s: %w", describeDisk(name, config.Source), err)
		}
		if rest > 0 {
			o.emit("The last %d bytes of %s are not on the disk, which has blocks of %d bytes", rest, config.Source, tender.MinBlockSize)
		}
	}
	return disks, nil
}

// measure finds the capacity of the disk, and returns the number of bytes after its last block.
func (d *dataDisk) measure() (rest uint64, err error) {
	size, err := d.file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	rest = uint64(size) % tender.MinBlockSize
	d.size = uint64(size) - rest
	if d.size == 0 {
		return rest, errors.New("the disk is empty")
	}
	return rest, nil
}

// offer returns the block device calls beyond the Solo5 ABI that the tender offers for a
// disk, as far as the guest supports them.
func (k kernelInfo) offer(name, sync string) lkl.Disk {
	offer := lkl.Disk{Name: name}
	if k.supports(unikernel.FeatureTransfer) {
		offer.Transfer = tender.LargestTransfer
	}
	offer.Flush = sync == syncFlush && k.supports(unikernel.FeatureFlush)
	return offer
}

// A diskOpener opens one disk of a task.
type diskOpener struct {
	driver *Driver
	job    job
	dir    taskDir
	kernel *kernel
	config DiskConfig
}

// open returns the disk's file, locked and in order.
func (o diskOpener) open(ctx context.Context, name string) (*os.File, error) {
	source := diskSource{name: scratchPrefix + name, text: "an empty disk"}
	var err error
	if o.config.Source == "" {
		source.dir, err = os.Open(o.dir.path)
	} else {
		source, err = o.driver.config.Volumes.openDiskSource(o.job.task, o.config.Source)
	}
	if err != nil {
		return nil, err
	}
	defer source.Close()
	f, err := source.open(o.config.ReadOnly, o.config.Sync)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = o.create(ctx, source)
	}
	if err != nil {
		return nil, err
	}
	if err := o.prepare(ctx, source, f); err != nil {
		_ = f.Close() // nothing was written through it
		return nil, err
	}
	return f, nil
}

// formats reports whether the driver creates and checks file systems for the guest. Only the
// guest knows the content of other disks.
func (o diskOpener) formats() bool { return o.kernel.flavor == unikernel.FlavorLKL }

func (o diskOpener) newOptions() disk.NewOptions {
	user := o.job.program.user
	return disk.NewOptions{Size: o.config.bytes(), UID: user.uid, GID: user.gid, Sandbox: o.dir.sandbox()}
}

// create creates a missing disk and opens it. If another task creates it at the same time,
// create opens that one.
func (o diskOpener) create(ctx context.Context, source diskSource) (*os.File, error) {
	switch {
	case o.config.ReadOnly:
		return nil, fmt.Errorf("%s does not exist, and a read-only disk is not created: correct source", source.text)
	case o.config.Size == "":
		return nil, fmt.Errorf("%s does not exist: set size to create it, or correct source", source.text)
	}
	var err error
	if o.formats() {
		err = disk.Create(ctx, source.dir, source.name, o.newOptions())
	} else {
		err = disk.CreateRaw(source.dir, source.name, o.config.bytes())
	}
	switch {
	case err == nil && o.config.Source != "":
		o.emit("Created the disk %s of %d MiB", source.text, o.config.bytes()>>20)
	case err != nil && !errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("create %s: %w", source.text, diskAdvice(err, source.text))
	}
	return source.open(o.config.ReadOnly, o.config.Sync)
}

// prepare locks an open disk, and checks, repairs and grows its file system.
func (o diskOpener) prepare(ctx context.Context, source diskSource, f *os.File) error {
	if err := disk.Lock(ctx, f, o.config.ReadOnly); err != nil {
		if errors.Is(err, disk.ErrInUse) {
			return retryable(fmt.Errorf("%s: %w", source.text, o.driver.inUseError(f)))
		}
		return err
	}
	if source.device != "" {
		return o.checkDevice(source, f)
	}
	empty, err := disk.IsEmpty(f)
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", source.text, withoutPath(err))
	case !o.formats():
		return o.prepareRaw(f)
	case empty && o.config.Source != "" && !o.config.ReadOnly:
		return o.format(ctx, source, f)
	case o.config.ReadOnly:
		return o.checkReadOnly(source, f)
	case !disk.HasExt4(f) && o.config.Mount == "":
		return o.prepareRaw(f)
	case !disk.HasExt4(f):
		return fmt.Errorf("%s contains %s, not an ext4 file system, and is left as it is: "+
			"use another file, or remove mount if the program knows the content", source.text, disk.Describe(f))
	}
	return o.checkAndGrow(ctx, source, f)
}

// format creates a file system in an existing file without content.
func (o diskOpener) format(ctx context.Context, source diskSource, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	options := o.newOptions()
	options.Size = max(options.Size, info.Size())
	if options.Size < minDiskSize {
		return fmt.Errorf("%s is empty: set size to create a file system in it", source.text)
	}
	if err := disk.Format(ctx, f, options); err != nil {
		return fmt.Errorf("create a file system in %s: %w", source.text, diskAdvice(err, source.text))
	}
	o.emit("Created a file system of %d MiB in the empty file %s", options.Size>>20, source.text)
	return nil
}

// emit reports a change of the disk to the operator.
func (o diskOpener) emit(format string, args ...any) {
	o.driver.events.emit(o.job.task, fmt.Sprintf(format, args...), nil)
}

// checkReadOnly checks a disk on which nothing can be repaired.
func (o diskOpener) checkReadOnly(source diskSource, f *os.File) error {
	if o.config.Mount == "" || disk.HasISO9660(f) {
		return nil
	}
	switch err := disk.CheckSuperblock(f); {
	case errors.Is(err, disk.ErrUnclean):
		return fmt.Errorf("%s: %w, and a read-only disk cannot be repaired: start a task without read_only once", source.text, err)
	case errors.Is(err, disk.ErrKind):
		return fmt.Errorf("%s contains %s, not an ext4 or ISO 9660 file system: use another file", source.text, disk.Describe(f))
	case err != nil:
		return fmt.Errorf("%s: %w", source.text, diskAdvice(err, source.text))
	}
	return nil
}

// checkDevice checks a block device, which the driver never formats, repairs or grows. Its
// journal is left to the guest's kernel.
func (o diskOpener) checkDevice(source diskSource, f *os.File) error {
	if o.config.Size != "" {
		return fmt.Errorf("%s is a block device, whose size is fixed: remove size", source.text)
	}
	if !o.formats() || o.config.Mount == "" {
		return nil
	}
	if o.config.ReadOnly {
		return o.checkReadOnly(source, f)
	}
	switch err := disk.CheckSuperblock(f); {
	case err == nil, errors.Is(err, disk.ErrUnclean):
		return nil
	case errors.Is(err, disk.ErrKind):
		return fmt.Errorf("%s contains %s, not an ext4 file system, and is left as it is: create one with mkfs.ext4", source.text, disk.Describe(f))
	default:
		return fmt.Errorf("%s: %w", source.text, diskAdvice(err, source.text))
	}
}

// prepareRaw grows a disk whose content only the guest knows.
func (o diskOpener) prepareRaw(f *os.File) error {
	info, err := f.Stat()
	if err != nil || o.config.ReadOnly || info.Size() >= o.config.bytes() {
		return err
	}
	if err := disk.EnlargeRaw(f, o.config.bytes()); err != nil {
		return fmt.Errorf("grow the disk: %w", withoutPath(err))
	}
	return nil
}

// checkAndGrow brings an ext4 file system in order. A damaged one is left as it is.
func (o diskOpener) checkAndGrow(ctx context.Context, source diskSource, f *os.File) error {
	repaired, err := disk.Check(ctx, o.dir.sandbox(), f, source.dirPath())
	if err != nil {
		return fmt.Errorf("check %s: %w", source.text, diskAdvice(err, source.text))
	}
	if repaired {
		o.emit("Repaired the file system of %s: e2fsck found errors that are safe to repair", source.text)
	}
	before, err := f.Stat()
	if err != nil {
		return err
	}
	wanted := o.config.bytes()
	size, err := disk.Enlarge(ctx, o.dir.sandbox(), f, wanted)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", source.text, diskAdvice(err, source.text))
	case size > before.Size():
		o.emit("The disk %s grew from %d to %d MiB", source.text, before.Size()>>20, size>>20)
	case wanted > 0 && size-wanted >= minDiskSize:
		o.emit("The disk %s has %d MiB, and keeps them: disks never shrink to a smaller size", source.text, size>>20)
	}
	return nil
}
