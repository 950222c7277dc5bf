// SPDX-License-Identifier: MPL-2.0

package unikernel

// A Flavor is the kind of software in a unikernel. It determines the format of
// the command line.
type Flavor string

const (
	// FlavorLKL is the Linux Kernel Library: package lkl writes its command
	// line.
	FlavorLKL Flavor = "lkl"
	// FlavorSolo5 is any other unikernel, which gets its arguments unchanged:
	// see package cmdline.
	FlavorSolo5 Flavor = "solo5"
)

// The devices of an LKL unikernel.
const (
	// DeviceRootfs is the disk with the root file system.
	DeviceRootfs = "rootfs"
	// DeviceTap is the network interface.
	DeviceTap = "tap"
	// DeviceControl is a net device that carries signals from the executor
	// instead of network traffic. Features are independent of it.
	DeviceControl = "control"
	// DeviceFiles is a net device that leads to the file server (package files). The
	// tender adds it for guests with FeatureFiles; no manifest declares it.
	DeviceFiles = "files"
)

// Flavor returns FlavorLKL if the guest has FeatureConfig, or if the manifest
// declares a block device "rootfs" and a net device "tap", as in every legacy LKL
// guest.
func (u *Info) Flavor() Flavor {
	if u.Features.Has(FeatureConfig) || u.has(DeviceRootfs, Block) && u.has(DeviceTap, Net) {
		return FlavorLKL
	}
	return FlavorSolo5
}

// HasControl reports whether the guest receives signals through DeviceControl.
func (u *Info) HasControl() bool { return u.has(DeviceControl, Net) }

func (u *Info) has(name string, t DeviceType) bool {
	d, ok := u.Device(name)
	return ok && d.Type == t
}
