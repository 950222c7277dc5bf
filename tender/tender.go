// SPDX-License-Identifier: MPL-2.0

// Package tender describes the run of a unikernel: the guest with the host's ends
// of its devices, the jail of its process, and its exit. Each package below it
// implements one tender.
package tender

import (
	"os"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// A Device is a device of the guest, with the host's end of it.
type Device struct {
	Name string
	Type unikernel.DeviceType

	// File is open for reading and writing. That of a block device is a regular
	// file or a block device. That of a net device is a tap, or a datagram
	// socket with one Ethernet frame per datagram. The tender makes the file of
	// a net device non-blocking.
	File *os.File

	// MAC and MTU are properties of a net device for the guest. The MTU is in
	// bytes, without the Ethernet header.
	MAC [6]byte
	MTU uint16

	// Capacity and BlockSize are properties of a block device, in bytes. The
	// block size is a power of two of at least MinBlockSize; the capacity is a
	// multiple of it.
	Capacity  uint64
	BlockSize uint16

	// MaxTransfer is the largest transfer of one call, in bytes, a multiple of
	// BlockSize. 0 means one block, as in the Solo5 ABI.
	MaxTransfer uint32
	// Flush allows the guest to call fdatasync on a block device.
	Flush bool
}

// A Guest is a unikernel with everything that it runs on.
type Guest struct {
	// Kernel is the file from which Info was read. It must not change while the
	// guest runs, because its read-only parts are mapped, not copied.
	Kernel *os.File
	Info   *unikernel.Info

	Memory      uint64 // in bytes, a multiple of the page size
	CommandLine string // at most cmdline.MaxLength bytes
	// CommandLineFile contains the command line instead of CommandLine, for a guest
	// that accepts a long one (unikernel.Info.LongCommandLine). It has CommandLineSize
	// bytes, without a NUL.
	CommandLineFile *os.File
	CommandLineSize uint64
	// Devices are all devices of the manifest, in any order. A guest with
	// unikernel.FeatureDevices may have others; their handles follow in this order.
	Devices  []Device
	ExecHeap bool // makes heap and stack executable
	// HugePages backs the guest's memory with transparent huge pages, as far as
	// the host has free ones. Otherwise the guest has no huge pages, even if the
	// host's setting is "always", and occupies only the pages that it has touched.
	HugePages bool

	// Console becomes the guest's standard output. The tender makes it blocking,
	// so that no output is lost.
	Console *os.File
	// Stderr becomes the guest's standard error, as Console its output. It is nil for a
	// guest that has only the console. The Solo5 ABI has no standard error.
	Stderr *os.File
}

// A Jail lists further privileges that the guest's process gives up before its
// first instruction. Every guest gives up its capabilities, its view of the
// tender's memory, and all but a few system calls.
type Jail struct {
	UID, GID int // 0 and 0 keep the caller's
	// Root is an empty directory that becomes the root directory; "" keeps the
	// caller's.
	Root string
	// DieWithParent kills the guest when the thread that started it ends. The
	// caller must hold this thread (runtime.LockOSThread).
	DieWithParent bool
	NewSession    bool
}

// Device returns the attached device of a name.
func (g *Guest) Device(name string) (*Device, bool) {
	for i := range g.Devices {
		if g.Devices[i].Name == name {
			return &g.Devices[i], true
		}
	}
	return nil, false
}

// HeapEnd returns the end of the memory that the guest's bindings use, in bytes. The
// pages from there to the end of Memory contain a long command line with its NUL.
func (g *Guest) HeapEnd() uint64 {
	if g.CommandLineFile == nil {
		return g.Memory
	}
	room := (g.CommandLineSize + unikernel.PageSize) &^ (unikernel.PageSize - 1)
	return g.Memory - min(room, g.Memory)
}
