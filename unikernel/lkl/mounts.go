// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// A Mount is a file system that the guest mounts before its program starts. The guest
// creates a missing mount point.
type Mount struct {
	// Device is the name of a block device, the number of a share (HostFS), or any name
	// (TmpFS).
	Device string
	// Path is the mount point, an absolute path. A mount below another one must follow it.
	Path string
	// Type is HostFS or TmpFS (FeatureFiles). For a block device it is "ext4", "iso9660", or
	// "" for either.
	Type string
	// Options are those of mount(8), separated by commas.
	Options string
}

// ShareMount returns the mount of a share: the entry of its index in files.Plan. The guest
// ignores devices and set-user-ID bits in it.
func ShareMount(index int, path string, readOnly bool) Mount {
	m := Mount{Device: strconv.Itoa(index), Path: path, Type: HostFS, Options: "nosuid,nodev"}
	if readOnly {
		m.Options += ",ro"
	}
	return m
}

// The types of mounts that are not on block devices.
const (
	HostFS = "hostfs" // a share of the file server: see files.Plan
	TmpFS  = "tmpfs"  // in the guest's memory
)

// Limits of the guest's start program (guest/lkl/start/start.h).
const (
	// MaxMounts is MAX_MOUNTS of guests with FeatureFiles, maxOlderMounts that of others.
	MaxMounts, maxOlderMounts = 64, 16
	// MaxMountPath is the maximum length of a mount point, in bytes.
	MaxMountPath = 249
	// MaxMountOptions is the maximum length of the options, in bytes.
	MaxMountOptions = 254
)

// mountTypes are the types of file systems that a guest can mount.
var mountTypes = []string{"", "ext4", "iso9660", HostFS, TmpFS}

// CheckMountPath reports whether a guest can mount a file system at a path.
func CheckMountPath(name string) error {
	switch {
	case !path.IsAbs(name):
		return fmt.Errorf("%q is not an absolute path in the guest, such as %q", name, "/data")
	case !plain(name, escaped):
		return fmt.Errorf("%q must be printable ASCII without any of %s", name, spaced(escaped))
	case len(name) > MaxMountPath:
		return fmt.Errorf("%q has %d bytes, %d more than %d", name, len(name), len(name)-MaxMountPath, MaxMountPath)
	case slices.Contains(strings.Split(name, "/"), ".."):
		return fmt.Errorf("%q contains %q: write the path without it", name, "..")
	case path.Clean(name) == "/":
		return fmt.Errorf("%q is the root directory: name a directory below it", name)
	}
	if mounted := mountOfKernel(path.Clean(name)); mounted != "" {
		return fmt.Errorf("%q conflicts with %s, which every guest has: use another path", name, mounted)
	}
	return nil
}

// mountOfKernel returns the mount point of a file system of the kernel that a clean path is or
// lies below, or "". Mounts on /dev/shm are possible.
func mountOfKernel(name string) string {
	if name == "/dev/shm" || strings.HasPrefix(name, "/dev/shm/") {
		return ""
	}
	for _, mounted := range []string{"/proc", "/sys", "/dev"} {
		if name == mounted || strings.HasPrefix(name, mounted+"/") {
			return mounted
		}
	}
	return ""
}

func (v *validation) checkMounts(mounts []Mount, features unikernel.Features) {
	limit := maxOlderMounts
	if len(mounts) > 0 && !features.Has(unikernel.FeatureConfig) {
		v.addf("mounts need the feature config")
	}
	if features.Has(unikernel.FeatureFiles) {
		limit = MaxMounts
	}
	if len(mounts) > limit {
		v.addf("%d mounts, %d more than %d", len(mounts), len(mounts)-limit, limit)
	}
	for i, m := range mounts {
		v.field = fmt.Sprintf("mount %d", i+1)
		if err := CheckMountPath(m.Path); err != nil {
			v.addf("%w", err)
		}
		v.checkMount(m, features)
	}
	v.field = ""
}

func (v *validation) checkMount(m Mount, features unikernel.Features) {
	if !unikernel.ValidDeviceName(m.Device) {
		v.addf("the device %q must be 1 to %d letters and digits", m.Device, unikernel.MaxDeviceName)
	}
	switch {
	case !slices.Contains(mountTypes, m.Type):
		v.addf("the type %q is not one of %s", m.Type, strings.Join(mountTypes[1:], ", "))
	case (m.Type == HostFS || m.Type == TmpFS) && !features.Has(unikernel.FeatureFiles):
		v.addf("the type %s needs the feature files", m.Type)
	}
	v.checkMountOptions(m.Options)
}

func (v *validation) checkMountOptions(options string) {
	if err := CheckMountOptions(options); err != nil {
		v.addf("%w", err)
	}
}

// CheckMountOptions reports whether a guest reads mount options as they are. The file
// system in the guest decides which options it knows.
func CheckMountOptions(options string) error {
	switch {
	case !plain(options, escaped+" "):
		return fmt.Errorf("the options %q must be printable ASCII without blanks or any of %s", options, spaced(escaped))
	case len(options) > MaxMountOptions:
		return fmt.Errorf("the options have %d bytes, %d more than %d", len(options), len(options)-MaxMountOptions, MaxMountOptions)
	}
	return nil
}
