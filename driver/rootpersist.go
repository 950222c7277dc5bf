// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
)

// validatePersist checks the path of a root disk that outlives the task.
func (t *TaskConfig) validatePersist(list *problems.List, plugin *Config, task *drivers.TaskConfig) {
	if t.RootfsPersist == "" {
		return
	}
	if t.Rootfs == "" && t.Image == "" {
		list.Addf("rootfs_persist", "is set without a rootfs: set rootfs too, which is the content of the first start")
	}
	root, err := plugin.Volumes.diskRoot(task, t.RootfsPersist)
	switch {
	case err != nil:
		list.Addf("rootfs_persist", "%w", err)
	case root.rel == ".":
		list.Addf("rootfs_persist", "%q is a directory or a device: name a file in a directory, such as %q",
			t.RootfsPersist, path.Join(t.RootfsPersist, "root.img"))
	}
}

// persistOpener returns an opener for the root disk of rootfs_persist.
func (d *Driver) persistOpener(j job, dir taskDir, k *kernel) diskOpener {
	config := DiskConfig{
		Source: j.config.RootfsPersist, Size: j.config.RootfsSize, Sync: j.config.RootfsSync,
		Mount: "/", // its content must be a file system for the guest's kernel
	}
	config.Sync = config.syncOf(k.kernelInfo)
	return diskOpener{driver: d, job: j, dir: dir, kernel: k, config: config}
}

// openPersistentRoot opens the root disk that outlives the task, and brings it in order. At
// the first start, it creates the disk from the job's rootfs.
func (d *Driver) openPersistentRoot(ctx context.Context, o diskOpener, root rootCopy) (*rootDisk, error) {
	source, err := d.config.Volumes.openDiskSource(o.job.task, o.config.Source)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	f, err := source.open(false, o.config.Sync)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = d.createPersistentRoot(ctx, o, source, root)
	}
	if err != nil {
		return nil, err
	}
	if err := o.prepareRoot(ctx, source, f, root.files); err != nil {
		_ = f.Close() // the tools have synced their changes
		return nil, err
	}
	return newRootDisk(f)
}

// createPersistentRoot makes the root disk in the task's directory, and then copies it to
// its place, so that a disk with this name is complete.
func (d *Driver) createPersistentRoot(ctx context.Context, o diskOpener, source diskSource, root rootCopy) (*os.File, error) {
	path := filepath.Join(o.dir.path, diskFile)
	if err := d.copyRoot(ctx, o.job, o.dir, root); err != nil {
		return nil, root.src.wrap(err)
	}
	private, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer private.Close()
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	err = disk.Install(ctx, private, source.dir, source.name)
	switch {
	case err == nil:
		d.events.emit(o.job.task, fmt.Sprintf("Created the root disk %s from %s", source.text, root.src.name), nil)
	case !errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("create %s: %w", source.text, diskAdvice(err, source.text))
	}
	return source.open(false, o.config.Sync)
}

// prepareRoot locks and checks a root disk, and renews the task's files in it.
func (o diskOpener) prepareRoot(ctx context.Context, source diskSource, f *os.File, files []disk.File) error {
	empty, err := disk.IsEmpty(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", source.text, withoutPath(err))
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	// A new file system would be no root. Only the guest knows what raw disks contain.
	if empty && (o.formats() || info.Size() == 0) {
		return fmt.Errorf("%s is empty: remove the file, and the next start creates it", source.text)
	}
	if err := o.prepare(ctx, source, f); err != nil || len(files) == 0 {
		return err
	}
	if err := disk.PutOpen(ctx, o.dir.sandbox(), f, source.dirPath(), files); err != nil {
		return fmt.Errorf("add the task's files to %s: %w", source.text, diskAdvice(err, source.text))
	}
	return f.Sync()
}
