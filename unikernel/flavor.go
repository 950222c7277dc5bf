// SPDX-License-Identifier: MPL-2.0

package unikernel

// A Flavor is the family of software in a unikernel, which decides how its
// command line is read.
type Flavor string

const (
	// FlavorLKL is Linux as a library.
	FlavorLKL Flavor = "lkl"
	// FlavorSolo5 is any other unikernel: it gets the arguments as they are.
	FlavorSolo5 Flavor = "solo5"
)

// The devices of an LKL unikernel.
const (
	// DeviceRootfs is the disk with the root file system.
	DeviceRootfs = "rootfs"
	// DeviceTap is the network interface.
	DeviceTap = "tap"
	// DeviceControl is a net device that carries signals from the executor
	// instead of network traffic. It says nothing of what else the guest
	// understands: see Features.
	DeviceControl = "control"
)

// Flavor is FlavorLKL where the file says so (FeatureConfig), or where the
// manifest lets it be guessed: it declares a block device "rootfs" and a net
// device "tap", as every LKL unikernel of 2020 does.
func (m *Info) Flavor() Flavor {
	if m.Features.Has(FeatureConfig) || m.has(DeviceRootfs, Block) && m.has(DeviceTap, Net) {
		return FlavorLKL
	}
	return FlavorSolo5
}

// HasControl tells whether the guest takes signals through DeviceControl.
func (m *Info) HasControl() bool { return m.has(DeviceControl, Net) }

func (m *Info) has(name string, t DeviceType) bool {
	d, ok := m.Device(name)
	return ok && d.Type == t
}
