// SPDX-License-Identifier: MPL-2.0

// Package unikernel reads the headers of a kernel file: the target, ABI,
// segments and manifest of a Solo5 executable, and the flavor of the software in
// it.
//
// A kernel file is untrusted. Read refuses what Solo5's own tenders refuse, with
// three differences for existing guests: it accepts ABI versions 1 and 2, it
// rounds the end of a segment up to the page, and it checks the manifest's names.
// It uses the types of debug/elf, but not its reader, which is documented as not
// hardened against adversarial inputs.
package unikernel

import (
	"errors"
	"fmt"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

const (
	// PageSize is the unit of segments and of memory protection, in bytes.
	PageSize = 0x1000
	// MinLoadAddress is the lowest guest address of a segment or the entry
	// point (Solo5: spt_abi.h and hvt_abi.h).
	MinLoadAddress = 0x100000
	// MaxDevices is the maximum number of devices in a manifest.
	MaxDevices = solo5elf.MaxEntries - 1
	// MaxDeviceName is the maximum length of a device's name, in bytes.
	MaxDeviceName = solo5elf.NameSize - 1
	// MaxMTU is the largest MTU of a net device that every guest supports, in
	// bytes: the buffers of legacy guests hold an Ethernet frame.
	MaxMTU = 1500
	// MaxJumboMTU is the largest MTU of guests with FeatureNetwork: the longest
	// IPv4 packet.
	MaxJumboMTU = 65535
)

// A Target is the kind of tender that a unikernel is linked for. The values are
// those of Solo5's elf_abi.h.
type Target uint32

// The targets of Solo5.
const (
	TargetHVT    Target = 1
	TargetSPT    Target = 2
	TargetVirtio Target = 3
	TargetMuen   Target = 4
	TargetGenode Target = 5
	TargetXen    Target = 6
)

var targetNames = map[Target]string{
	TargetHVT: "hvt", TargetSPT: "spt", TargetVirtio: "virtio",
	TargetMuen: "muen", TargetGenode: "genode", TargetXen: "xen",
}

// String returns Solo5's name of the target, such as "spt".
func (t Target) String() string {
	if name, ok := targetNames[t]; ok {
		return name
	}
	return fmt.Sprintf("target %d", uint32(t))
}

// A DeviceType is the type of a device in a manifest. The values are those of
// Solo5's mft_abi.h.
type DeviceType uint32

const (
	// Block is a disk (BLOCK_BASIC).
	Block DeviceType = 1
	// Net is a network interface (NET_BASIC).
	Net DeviceType = 2
)

// String returns "block" or "net".
func (t DeviceType) String() string {
	switch t {
	case Block:
		return "block"
	case Net:
		return "net"
	default:
		return fmt.Sprintf("device type %d", uint32(t))
	}
}

// A Device is an entry of the manifest. A guest starts only if each of its
// devices is attached.
type Device struct {
	Name string
	Type DeviceType
}

// A Segment is a part of the file that is loaded into the guest's memory. All
// values are in bytes.
type Segment struct {
	// Offset and FileSize locate the content in the file.
	Offset, FileSize uint64
	// Addr and MemSize locate the content in the guest's memory. The memory
	// after the first FileSize bytes is zero.
	Addr, MemSize uint64
	// Start and End bound the pages that get the segment's permissions: Addr
	// rounded down and its end rounded up to the segment's alignment and the
	// page. No two segments share a page.
	Start, End uint64
	// Read, Write and Exec are the permissions. Write and Exec are never both
	// set.
	Read, Write, Exec bool
}

// Info is the content of a kernel file's headers.
type Info struct {
	Target Target
	// ABI is the version of Solo5's binary interface: 1 (Solo5 0.6 and 0.7)
	// or 2 (since 0.8).
	ABI uint32
	// Entry is the guest address of the first instruction.
	Entry uint64
	// Segments are the segments with memory, in ascending order of address.
	Segments []Segment
	// End is the highest End of a segment. The guest's heap begins there
	// (Solo5: kernel_end).
	End uint64
	// Manifest holds the devices in the file's order, without the reserved
	// entry 0: the handle of Manifest[i] is i+1.
	Manifest []Device
	Features Features
	// Preempt is set for a guest with FeaturePreempt.
	Preempt *Preempt
}

// Device returns the device of a name.
func (u *Info) Device(name string) (Device, bool) {
	for _, d := range u.Manifest {
		if d.Name == name {
			return d, true
		}
	}
	return Device{}, false
}

// CheckDevice reports why a device cannot be attached to the guest. A guest with
// FeatureDevices accepts devices that its manifest lacks.
func (u *Info) CheckDevice(d Device) error {
	declared, ok := u.Device(d.Name)
	switch {
	case ok && declared.Type != d.Type:
		return fmt.Errorf("declared as %s, but attached as %s", declared.Type, d.Type)
	case ok:
		return nil
	case !u.Features.Has(FeatureDevices):
		return errors.New("not declared by the unikernel, which lacks the feature devices")
	case !ValidDeviceName(d.Name):
		return fmt.Errorf("the name must be 1 to %d letters and digits", MaxDeviceName)
	case d.Type != Block && d.Type != Net:
		return fmt.Errorf("unknown %s", d.Type)
	}
	return nil
}

// LongCommandLine reports whether the guest accepts a command line of up to
// cmdline.MaxLongLength bytes, in whole pages at the end of its memory.
func (u *Info) LongCommandLine() bool {
	return u.Target == TargetSPT && u.Features.Has(FeatureCommandLine)
}
