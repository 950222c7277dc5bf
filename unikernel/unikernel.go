// SPDX-License-Identifier: MPL-2.0

// Package unikernel reads the headers of a kernel file: the target, ABI,
// segments and manifest of a Solo5 executable, and the flavor of the software in
// it.
//
// A kernel file is untrusted. Read refuses what Solo5's own tenders refuse,
// with three differences, each for guests that exist: ABI versions 1 and 2 are
// both taken, the end of a segment is rounded up to the page where it is not
// aligned, and the manifest's names are checked.
package unikernel

import "fmt"

const (
	// PageSize is the granule of segments and of protection, in bytes.
	PageSize = 0x1000
	// MinLoadAddress is the lowest guest address that a segment or the entry
	// point may have (Solo5: spt_abi.h and hvt_abi.h).
	MinLoadAddress = 0x100000
	// MaxDevices is the most devices that a manifest declares: 64 entries, of
	// which the first is reserved (Solo5: mft_abi.h).
	MaxDevices = 63
	// MaxDeviceName is the length of the longest device name, in bytes
	// (Solo5: mft_abi.h).
	MaxDeviceName = 67
	// MaxMTU is the largest MTU of a net device, in bytes: the guests' buffers
	// hold an Ethernet frame.
	MaxMTU = 1500
)

// A Target is the kind of tender that a unikernel was linked for. The numbers
// are those of Solo5's elf_abi.h.
type Target uint32

// The targets that Solo5 knows.
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

// String is the target's name as Solo5 writes it, such as "spt".
func (t Target) String() string {
	if name, ok := targetNames[t]; ok {
		return name
	}
	return fmt.Sprintf("target %d", uint32(t))
}

// A DeviceType is what a device of the manifest is. The numbers are those of
// Solo5's mft_abi.h.
type DeviceType uint32

const (
	// Block is a disk (BLOCK_BASIC).
	Block DeviceType = 1
	// Net is a network interface (NET_BASIC).
	Net DeviceType = 2
)

// String is the type's short name: "block" or "net".
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

// A Device is one entry of the manifest. A guest starts only when each of its
// devices is attached.
type Device struct {
	Name string
	Type DeviceType
}

// A Segment is one part of the file that is loaded. All of it is in bytes.
type Segment struct {
	// Offset and FileSize are where the content is in the file; they lie
	// within it.
	Offset, FileSize uint64
	// Addr and MemSize are where the content goes in the guest's memory;
	// MemSize is at least FileSize, and what is beyond FileSize is zero.
	Addr, MemSize uint64
	// Start and End bound the pages that take the segment's permissions: Addr
	// rounded down and its end rounded up to the segment's alignment and the
	// page. No two segments share a page.
	Start, End uint64
	// Read, Write and Exec are the permissions; never Write and Exec at once.
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
	// Segments are those that take memory, in ascending order of address.
	Segments []Segment
	// End is the highest End of a segment, where the guest's heap begins
	// (Solo5's kernel_end).
	End uint64
	// Manifest is the devices in the file's order, without the reserved entry
	// 0: the handle of Manifest[i] is i+1.
	Manifest []Device
	// Features are what the guest says that it understands.
	Features Features
}

// Device finds a device of the manifest by its name.
func (m *Info) Device(name string) (Device, bool) {
	for _, d := range m.Manifest {
		if d.Name == name {
			return d, true
		}
	}
	return Device{}, false
}
