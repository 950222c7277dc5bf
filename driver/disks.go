// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// A DiskConfig is the block of a task for a block device of its guest other than the root.
type DiskConfig struct {
	Source   string `codec:"source"` // "" for an empty disk that the task does not outlive
	Size     string `codec:"size"`
	ReadOnly bool   `codec:"read_only"`
	Mount    string `codec:"mount"`
	Options  string `codec:"mount_options"`
	Sync     string `codec:"sync"`
}

const (
	// minDiskSize is the smallest size of a disk that the driver creates, in bytes.
	minDiskSize = 1 << 20
	// maxDiskName is the maximum length of a disk's name in Linux (guest/lkl:
	// LKL_DISK_NAME_MAX). Linux would cut a longer one.
	maxDiskName = 31
)

func diskField(name string) string { return "disk." + name }

// validateDisks reports mistakes in the disk blocks that need no kernel.
func (t *TaskConfig) validateDisks(points *mountPoints, plugin *Config, task *drivers.TaskConfig) {
	list := points.list
	for _, name := range slices.Sorted(maps.Keys(t.Disks)) {
		field, disk := diskField(name), t.Disks[name]
		if !unikernel.ValidDeviceName(name) || len(name) > maxDiskName {
			list.Addf(field, "%q is not the name of a disk: use 1 to %d letters and digits", name, maxDiskName)
		}
		disk.validateSize(list, field, plugin)
		oneOf(list, field+".sync", disk.Sync, syncs)
		if disk.Source != "" {
			if _, err := plugin.Volumes.diskRoot(task, disk.Source); err != nil {
				list.Addf(field+".source", "%w", err)
			}
		}
		if disk.Mount != "" {
			points.add(field+".mount", disk.Mount)
		} else if disk.Options != "" {
			list.Addf(field+".mount_options", "is set without mount: set mount too, or remove it")
		}
	}
}

// validateDiskFiles refuses one file for several disks, unless all of them only read it.
func (t *TaskConfig) validateDiskFiles(list *problems.List) {
	type user struct {
		field    string
		readOnly bool
	}
	users := map[string]user{} // by path
	if t.RootfsPersist != "" {
		users[path.Clean(t.RootfsPersist)] = user{field: "rootfs_persist"}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Disks)) {
		field, disk := diskField(name), t.Disks[name]
		if disk.Source == "" {
			continue
		}
		file := path.Clean(disk.Source)
		if other, ok := users[file]; ok && !(disk.ReadOnly && other.readOnly) {
			list.Addf(field+".source", "%q is the file of %s too: use another file", disk.Source, other.field)
		}
		users[file] = user{field, disk.ReadOnly}
	}
}

func (c DiskConfig) validateSize(list *problems.List, field string, plugin *Config) {
	if c.Source == "" && c.ReadOnly {
		list.Addf(field+".read_only", "is set for an empty disk: set source too, or remove it")
	}
	if c.Size == "" {
		if c.Source == "" {
			list.Addf(field+".size", "is missing: a disk without a source is empty, and needs a size such as %q", "1GiB")
		}
		return
	}
	size, err := parseSize(c.Size)
	switch {
	case err != nil:
		list.Addf(field+".size", "%w", err)
		return
	case size < minDiskSize:
		list.Addf(field+".size", "%s is less than 1 MiB", c.Size)
	}
	checkMaxSize(list, field+".size", size, c.Size, plugin)
}

// checkMaxSize compares a size in bytes with the limit of the client.
func checkMaxSize(list *problems.List, field string, size int64, text string, plugin *Config) {
	if limit, err := plugin.maxRootfsSize(); err == nil && size > limit {
		list.Addf(field, "%s exceeds the limit of this client, which is %d MiB: use a smaller size, or raise max_rootfs_size in the client's plugin config",
			text, limit>>20)
	}
}

// bytes returns the size in bytes, or 0 if it is not set. The configuration is valid.
func (c DiskConfig) bytes() int64 {
	if c.Size == "" {
		return 0
	}
	size, _ := parseSize(c.Size)
	return size
}

// syncOf returns the sync mode of a disk for a guest. A disk that outlives its task keeps what the
// guest has flushed, as a disk of hardware does.
func (c DiskConfig) syncOf(k kernelInfo) string {
	byDefault := syncNone
	switch {
	case c.Source == "" || c.ReadOnly:
	case k.supports(unikernel.FeatureFlush):
		byDefault = syncFlush
	default:
		byDefault = syncWriteThrough
	}
	return cmp.Or(c.Sync, byDefault)
}

// checkDisks compares the disk blocks with the manifest's block devices.
func (k kernelInfo) checkDisks(list *problems.List, config *TaskConfig) {
	root := k.diskDevice(config)
	for _, name := range k.devices(unikernel.Block) {
		if _, ok := config.Disks[name]; !ok && name != root {
			list.Addf("kernel", "declares the block device %q besides the root: add a block disk %q", name, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(config.Disks)) {
		field, disk := diskField(name), config.Disks[name]
		if name == root {
			list.Addf(field, "is the device of the root disk: set rootfs_persist to keep the root disk, or use another name")
		} else if err := k.elf.CheckDevice(unikernel.Device{Name: name, Type: unikernel.Block}); err != nil {
			list.Addf(field, "%w (%s)", err, inspectHint)
		}
		if disk.Mount != "" && !k.supports(unikernel.FeatureConfig) {
			list.Addf(field+".mount", "is only supported by guests of lkl-cc: remove mount")
		}
		if disk.Sync == syncFlush && !k.supports(unikernel.FeatureFlush) {
			list.Addf(field+".sync", "%q is not supported by this guest: use %q (%s)", syncFlush, syncWriteThrough, inspectHint)
		}
	}
}

// A dataDisk is an open disk of a task other than its root.
type dataDisk struct {
	name   string
	config DiskConfig
	file   *os.File
	size   uint64 // bytes, a multiple of the block size
	offer  lkl.Disk
}

// dataDisks are the disks of a task, in the order of their names.
type dataDisks []dataDisk

// Close closes the plugin's descriptors. The executor has its own.
func (all dataDisks) Close() {
	for _, d := range all {
		_ = d.file.Close() // nothing was written through it
	}
}

// device returns the host's side of a disk, or false if there is no disk of this name.
func (all dataDisks) device(name string) (hostDevice, bool) {
	for _, d := range all {
		if d.name == name {
			return d.device(), true
		}
	}
	return hostDevice{}, false
}

func (d dataDisk) device() hostDevice {
	return hostDevice{executor.Device{
		Name: d.name, Type: unikernel.Block, Capacity: d.size, BlockSize: tender.MinBlockSize,
		MaxTransfer: d.offer.Transfer, Flush: d.offer.Flush,
	}, d.file}
}

// offers returns the calls beyond the Solo5 ABI for all disks.
func (all dataDisks) offers() []lkl.Disk {
	var offers []lkl.Disk
	for _, d := range all {
		if d.offer.Transfer != 0 || d.offer.Flush {
			offers = append(offers, d.offer)
		}
	}
	return offers
}

// mounts returns the file systems of the disks that have a mount point.
func (all dataDisks) mounts() []lkl.Mount {
	var mounts []lkl.Mount
	for _, d := range all {
		if d.config.Mount == "" {
			continue
		}
		m := lkl.Mount{Device: d.name, Path: d.config.Mount, Type: "ext4"}
		var options []string
		if d.config.ReadOnly {
			m.Type, options = "", []string{"ro", "noload"} // noload: the journal cannot be replayed
		}
		if d.config.Options != "" {
			options = append(options, d.config.Options)
		}
		m.Options = strings.Join(options, ",")
		mounts = append(mounts, m)
	}
	return mounts
}

// describeDisk names a disk for errors and events.
func describeDisk(name, source string) string {
	if source == "" {
		return fmt.Sprintf("disk %q", name)
	}
	return fmt.Sprintf("disk %q (%s)", name, source)
}
