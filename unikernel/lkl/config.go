// SPDX-License-Identifier: MPL-2.0

// Package lkl writes the command line of a Linux Kernel Library guest, with the
// configuration in it.
//
// Two kinds of guest read it: guests that lkl-cc links, whose file lists their
// features, and legacy LKL guests (docs/design.md), which have no features. A
// legacy guest ends with a fault if it finds an unknown key. It reads at most 300
// tokens, and strings without escapes.
package lkl

import (
	"errors"
	"net"
	"net/netip"
)

// ErrConfig means that a guest would not accept a configuration.
var ErrConfig = errors.New("invalid LKL configuration")

// A Config is the configuration of an LKL guest. A field with a feature in
// parentheses must be zero unless the guest has this feature.
type Config struct {
	// Interfaces are the net devices that the guest brings up.
	Interfaces []Interface
	// Gateway and Gateway6 are the default routes, or zero. With FeatureConfig
	// the IPv4 gateway may be outside every interface's network, as in some
	// CNI networks.
	Gateway, Gateway6 netip.Addr
	// Routes are further routes, at most 64 (FeatureConfig).
	Routes []Route
	// Sysctl maps names, such as "net.ipv4.tcp_rmem", to values. The guest sets
	// them in the order of their names.
	Sysctl map[string]string
	// KernelLog prints the kernel's messages on the console. Without it, the
	// guest prints only errors and worse.
	KernelLog bool
	// Neighbors are the addresses of tasks that share the guest's addresses
	// (FeatureNetwork).
	Neighbors Neighbors
	// Root names the block device with the root file system, "rootfs" by
	// default (FeatureConfig).
	Root string
	// Hostname is the host name; "" for that in the guest's /etc/hostname (FeatureConfig).
	Hostname string
	// Entropy are random bytes for a guest that finds none in its root file system
	// (FeatureConfig).
	Entropy []byte
	// RootOptions are the mount options of the root, separated by commas
	// (FeatureConfig).
	RootOptions string
	// Disks are the block devices for which the tender offers more than the
	// Solo5 ABI (FeatureTransfer or FeatureFlush).
	Disks []Disk
	// Mounts are further file systems, in the order in which the guest mounts them
	// (FeatureConfig).
	Mounts []Mount
	// Program sets how the guest starts its program (FeatureProgram).
	Program Program
	// Output describes the guest's standard output and standard error (FeatureOutput).
	Output Output
	// FSGSBase reports that the host allows WRFSBASE and related instructions
	// (FeatureFSGSBase).
	FSGSBase bool
}

// An Interface is the guest's end of a net device.
type Interface struct {
	// Name is the device's name in the manifest.
	Name string
	// Rename is the interface's name in the guest; "" for Name (FeatureNetwork).
	// Sysctl needs this name. It has at most 15 letters, digits, "-", "_" and ".".
	Rename string
	// Address and Address6 are the IPv4 and IPv6 address with their prefix
	// length, or zero. A prefix length of 32 for IPv4 needs FeatureConfig.
	Address, Address6 netip.Prefix
	// Gateway and Gateway6 are routes for packets from this interface's
	// addresses (policy routing), not default routes; or zero.
	Gateway, Gateway6 netip.Addr
	// MAC is the Ethernet address; nil for the guest's choice.
	MAC net.HardwareAddr
	// MTU is in bytes, at most unikernel.Features.MaxMTU; 0 for the guest's
	// default.
	MTU int
	// Offload means that the tap carries virtio headers and offloads
	// (FeatureOffload). Legacy guests use the key for another purpose.
	Offload bool
}

// A Route is a route through an interface.
type Route struct {
	// Interface is the device of the interface in the manifest; "" for the first.
	Interface string
	To        netip.Prefix
	// Via is the router; zero for a destination on the link.
	Via netip.Addr
}

// A Disk is a block device for which the tender offers more than the Solo5
// ABI; see tender.Device.
type Disk struct {
	// Name is the device's name in the manifest.
	Name string
	// Transfer is the maximum number of bytes that one call moves; 0 for one
	// block (FeatureTransfer).
	Transfer uint32
	// Flush allows the guest to flush its writes to the host's disk
	// (FeatureFlush).
	Flush bool
}

// A Program sets how the guest starts its program. The zero value is root in
// the root directory, as in legacy guests.
type Program struct {
	// Directory is the working directory, an absolute path; "" for the root.
	Directory string
	UID, GID  uint32
	// Name is the program's argv[0]; "" for the guest's default (FeatureOutput).
	Name string
	// Stack is the size of the main thread's stack in bytes; 0 for the guest's
	// default (FeatureConfig).
	Stack uint64
}

// An Output describes the guest's standard output and standard error. Without it both are
// the console, and not a terminal.
type Output struct {
	// Stderr means that the tender gives the guest a standard error of its own; see
	// tender.Guest.
	Stderr bool
	// StdoutTTY and StderrTTY mean that the host shows the output on a terminal.
	StdoutTTY, StderrTTY bool
}
