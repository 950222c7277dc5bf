// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/procfd"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// The values of rootfs_format.
const (
	formatExt4    = "ext4"
	formatISO9660 = "iso9660"
)

// hasReadOnlyRoot reports whether the guest cannot write to its root disk.
func (t *TaskConfig) hasReadOnlyRoot() bool {
	return t.RootfsReadOnly || t.RootfsFormat == formatISO9660
}

func (t *TaskConfig) validateReadOnly(list *problems.List) {
	oneOf(list, "rootfs_format", t.RootfsFormat, []string{formatExt4, formatISO9660})
	if t.RootfsFormat == formatISO9660 {
		if t.Image != "" {
			list.Addf("rootfs_format", "%q is not possible with image, whose root is ext4: set rootfs_read_only instead", formatISO9660)
		}
		if t.RootfsSize != "" {
			list.Addf("rootfs_size", "has no meaning for %q: remove it", formatISO9660)
		}
	}
	if t.hasReadOnlyRoot() && t.RootfsPersist != "" {
		list.Addf("rootfs_persist", "is set for a read-only root disk, which cannot change: remove it")
	}
	if t.RootfsReadOnly && t.Rootfs == "" && t.Image == "" {
		list.Addf("rootfs_read_only", "is set without a rootfs: set rootfs too, or remove it")
	}
}

// checkReadOnlyRoot reports a read-only root that the guest cannot mount.
func (k kernelInfo) checkReadOnlyRoot(list *problems.List, config *TaskConfig) {
	if config.RootfsReadOnly && k.flavor == unikernel.FlavorLKL && !k.supports(unikernel.FeatureConfig) {
		list.Addf("rootfs_read_only", "is not supported by this guest, which mounts its root for writing (%s)", inspectHint)
	}
}

// openReadOnlyRoot opens the root disk of a guest that cannot write to it. An ext4 image is
// shared by all tasks that use it. From other sources the driver builds a private one.
func (d *Driver) openReadOnlyRoot(ctx context.Context, j job, dir taskDir, root rootCopy) (*rootDisk, error) {
	shared, err := root.isShared(j)
	if err != nil {
		return nil, err
	}
	seed, files := splitSeed(root.files)
	var opened *rootDisk
	if shared {
		opened, err = d.shareRoot(ctx, j, root)
	} else {
		root.files = append(files, d.mountPoints(j, root.flavor)...)
		opened, err = d.buildReadOnlyRoot(ctx, j, dir, root)
	}
	if err != nil {
		return nil, err
	}
	opened.readOnly, opened.entropy = true, seed
	if shared {
		opened.etc = files
	}
	return opened, nil
}

// entropySize is the number of random bytes in a guest's configuration: twice the size of the
// key of Linux's random number generator.
const entropySize = 64

// splitSeed separates the random seed from the files. A guest uses a seed in its root only if
// it can remove it.
func splitSeed(files []disk.File) (seed []byte, others []disk.File) {
	for _, f := range files {
		if f.Path == seedPath {
			seed = f.Content[:entropySize]
			continue
		}
		others = append(others, f)
	}
	return seed, others
}

// buildReadOnlyRoot builds a root disk in the task's directory.
func (d *Driver) buildReadOnlyRoot(ctx context.Context, j job, dir taskDir, root rootCopy) (*rootDisk, error) {
	path := filepath.Join(dir.path, diskFile)
	var err error
	if j.config.RootfsFormat == formatISO9660 {
		err = d.buildISO(ctx, j, dir, root)
	} else if err = d.copyRoot(ctx, j, dir, root); err == nil && len(root.files) > 0 {
		err = disk.Put(ctx, dir.sandbox(), path, root.files)
	}
	if err != nil {
		return nil, withDiskAdvice(root.src.wrap(err), root.src.name)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return newRootDisk(f)
}

// isShared reports whether the guest can use the source itself.
func (c rootCopy) isShared(j job) (bool, error) {
	if j.image != nil {
		return true, nil
	}
	if c.src.info.IsDir() {
		return false, nil
	}
	kind, err := disk.KindOf(c.src.path())
	if errors.Is(err, disk.ErrKind) && (c.flavor == unikernel.FlavorSolo5 || disk.HasISO9660(c.src)) {
		return true, nil
	}
	return kind == disk.Ext4, err
}

// shareRoot opens a root disk that no task can change.
func (d *Driver) shareRoot(ctx context.Context, j job, root rootCopy) (*rootDisk, error) {
	f, err := os.Open(procfd.SelfPath(root.src.File)) // the lock belongs to this open file
	if err != nil {
		return nil, withoutPath(err)
	}
	if err := d.checkSharedRoot(ctx, j, root, f); err != nil {
		_ = f.Close() // it was only read
		return nil, fmt.Errorf("%s: %w", root.src.name, err)
	}
	return newRootDisk(f)
}

func (d *Driver) checkSharedRoot(ctx context.Context, j job, root rootCopy, f *os.File) error {
	if j.image != nil {
		return nil // the driver has built it, and only reads it
	}
	if err := disk.Lock(ctx, f, true); err != nil {
		if errors.Is(err, disk.ErrInUse) {
			return retryable(d.inUseError(f))
		}
		return err
	}
	if root.flavor == unikernel.FlavorSolo5 || disk.HasISO9660(f) {
		return nil
	}
	switch err := disk.CheckSuperblock(f); {
	case errors.Is(err, disk.ErrUnclean):
		return fmt.Errorf("%w, and a read-only root cannot be repaired: run e2fsck -p on it", err)
	case err != nil:
		return diskAdvice(err, root.src.name)
	}
	return nil
}

// startMountPoints are the directories on which the guest's start program mounts a file
// system. They cannot be created on a read-only root.
var startMountPoints = []string{"/proc", "/sys", "/dev", "/tmp", "/run"}

// mountPoints returns the files and directories on which an LKL guest mounts something.
func (d *Driver) mountPoints(j job, flavor unikernel.Flavor) []disk.File {
	if flavor != unikernel.FlavorLKL {
		return nil
	}
	points := directories(slices.Concat(startMountPoints, taskMountPoints, j.config.diskTargets())...)
	for _, m := range j.task.Mounts {
		mount, err := openVolume(m)
		points = append(points, mount.point(m.TaskPath, err))
	}
	for _, m := range j.config.Mounts {
		mount, err := openMount(m, &d.config.Volumes, j.task)
		points = append(points, mount.point(m.Target, err))
	}
	return points
}

// point returns the mount point of a mount, and closes the mount's share. If the share could not
// be opened, the mount point is a directory: openLiveFiles reports the error.
func (m guestMount) point(target string, err error) disk.File {
	if err == nil && m.share != nil {
		defer m.share.Close() // O_PATH: nothing was written
		if info, err := m.share.Stat(); err == nil && !info.IsDir() {
			return disk.File{Path: target, Mode: 0o644}
		}
	}
	return directories(target)[0]
}

// buildISO creates the root disk as an ISO 9660 image.
func (d *Driver) buildISO(ctx context.Context, j job, dir taskDir, root rootCopy) error {
	limit, err := d.config.maxRootfsSize()
	if err != nil {
		return err
	}
	d.events.emit(j.task, "Building the root disk as ISO 9660 from "+root.src.name, nil)
	options := disk.BuildOptions{Max: limit, Sandbox: dir.sandbox()}
	return disk.BuildISO(ctx, root.src.path(), filepath.Join(dir.path, diskFile), options, root.files)
}

// diskTargets returns the mount points of the job's disks.
func (t *TaskConfig) diskTargets() []string {
	var targets []string
	for _, disk := range t.Disks {
		if disk.Mount != "" {
			targets = append(targets, disk.Mount)
		}
	}
	return targets
}

// rootOptions returns the options with which the guest mounts its root.
func (t *TaskConfig) rootOptions() string {
	if !t.RootfsReadOnly {
		return t.RootfsOptions
	}
	const readOnly = "ro,noload" // noload: the journal cannot be replayed
	if t.RootfsOptions == "" {
		return readOnly
	}
	return readOnly + "," + t.RootfsOptions
}

// etcFiles are the files with which a guest finds its neighbors. The driver mounts them over
// those of a read-only root.
var etcFiles = []string{"/etc/hosts", "/etc/resolv.conf"}

// mountEtc writes files of the task to its state directory, and mounts them in the guest.
func (l *liveFiles) mountEtc(dir taskDir, files []disk.File) error {
	for _, f := range files {
		for _, target := range etcFiles {
			if f.Path != target {
				continue
			}
			path := filepath.Join(dir.path, filepath.Base(target))
			// The umask of the agent may withhold the file from the users in the guest.
			if err := errors.Join(os.WriteFile(path, f.Content, 0o644), os.Chmod(path, 0o644)); err != nil {
				return fmt.Errorf("write %s for the guest: %w", target, withoutPath(err))
			}
			fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("open %s for the guest: %w", target, err)
			}
			l.mounts = append(l.mounts, guestMount{target: target, share: os.NewFile(uintptr(fd), path), readOnly: true})
		}
	}
	return nil
}
