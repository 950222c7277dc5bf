// SPDX-License-Identifier: MPL-2.0

// Package tender says what it takes to run a unikernel: the guest with the
// host's ends of its devices, the jail that its process is put into, and how
// it ended. How it is run is the matter of the packages below, one a tender.
package tender

import (
	"os"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// A Device is one device of the manifest with the host's end of it.
type Device struct {
	Name string
	Type unikernel.DeviceType

	// File is a tap or a datagram socket, one Ethernet frame a datagram, for a
	// net device; a regular file or a block device for a block device. It is
	// open for reading and writing. A net device's file is made non-blocking.
	File *os.File

	// MAC and MTU are what the guest is told of a net device. The MTU is in
	// bytes, without the Ethernet header.
	MAC [6]byte
	MTU uint16

	// Capacity, in bytes, is a multiple of BlockSize, which is a power of two
	// of at least 512.
	Capacity  uint64
	BlockSize uint16

	// MaxTransfer lets the guest move up to so many bytes, a multiple of
	// BlockSize, in one call. 0 is one block a call: the Solo5 ABI as it is.
	MaxTransfer uint32
	// Flush lets the guest call fdatasync on a block device.
	Flush bool
}

// A Guest is a unikernel with all that it runs on.
type Guest struct {
	// Kernel is the file that Image was read from. It must not change while
	// the guest runs: its read-only parts are mapped, not copied.
	Kernel *os.File
	Image  *unikernel.Info

	Memory      uint64 // in bytes, from address 0, whole pages
	CommandLine string
	Devices     []Device // exactly those of the manifest, in any order
	ExecHeap    bool     // heap and stack are executable
	// HugePages backs the guest's memory with huge pages as it is used, where
	// the host has them to give; otherwise it has none, whatever the host's
	// setting, so that a guest occupies what it has touched.
	HugePages bool

	// Console becomes the guest's standard output. It is made blocking, so
	// that nothing that the guest says is lost.
	Console *os.File
}

// A Jail is what the guest's process gives up before its first instruction,
// besides its capabilities, its view of the tender's memory and all system
// calls but a few, which every guest gives up.
type Jail struct {
	UID, GID int // 0, 0: as the caller
	// Root is an empty directory that becomes the root directory; "" keeps
	// the caller's.
	Root string
	// DieWithParent has the kernel kill the guest when the thread that
	// started it ends: the caller holds it (runtime.LockOSThread).
	DieWithParent bool
	NewSession    bool
}
