// SPDX-License-Identifier: MPL-2.0

// Package solo5elf defines the file format of Solo5 unikernels: an ELF64
// executable with two notes, which declare the ABI and the devices. It also
// writes such files, for probes and tests.
//
// The types have the layout of Solo5's elf_abi.h and mft_abi.h; encoding/binary
// reads and writes them in little-endian order. Package unikernel checks files.
package solo5elf

import (
	"debug/elf"
	"encoding/binary"
)

// Sizes of the ELF64 structures, in bytes.
const (
	HeaderSize        = 64
	ProgramHeaderSize = 56
	NoteHeaderSize    = 12
)

// Solo5's notes.
const (
	Owner        = "Solo5\x00"
	NoteABI      = 0x31494241 // "ABI1"; its descriptor is an ABI
	NoteManifest = 0x3154464d // "MFT1"; see ManifestNote
)

// Sizes of Solo5's structures, in bytes.
const (
	ABISize            = 16
	ManifestHeaderSize = 8
	EntrySize          = 104
	NameSize           = 68 // of an entry's name with at least one NUL
	// ManifestPadding is the padding before the manifest in its note, which
	// the descriptor's size includes. It aligns the manifest to 8 bytes.
	ManifestPadding = 4
)

const (
	// ManifestVersion is the version of the manifest.
	ManifestVersion = 1
	// MaxEntries is the maximum number of entries, the reserved one included.
	MaxEntries = 64
	// TypeReserved is the type of a manifest's first entry, which is no device.
	TypeReserved = 1 << 30
)

// A NoteHeader starts an ELF note. The owner's name follows, padded to 4 bytes,
// and then the descriptor.
type NoteHeader struct {
	NameSize, DescriptorSize, Type uint32
}

// An ABI is struct abi1_info.
type ABI struct {
	Target, Version uint32
	_               [2]uint32
}

// A ManifestHeader starts a manifest (struct mft). Its entries follow.
type ManifestHeader struct {
	Version, Entries uint32
}

// An Entry is struct mft_entry. In a file, only Name and Type are set; the
// tender sets the others in the guest's memory.
type Entry struct {
	Name       [NameSize]byte
	Type       uint32
	Properties [16]byte // struct mft_block_basic or struct mft_net_basic
	HostFD     uint32
	_          uint32
	Attached   uint8
	_          [7]byte
}

// NewEntry returns the entry of a device. A name longer than NameSize is cut.
func NewEntry(name string, deviceType uint32) Entry {
	e := Entry{Type: deviceType}
	copy(e.Name[:], name)
	return e
}

// SetBlock sets the properties of a block device, in bytes.
func (e *Entry) SetBlock(capacity uint64, blockSize uint16) {
	binary.LittleEndian.PutUint64(e.Properties[0:], capacity)
	binary.LittleEndian.PutUint16(e.Properties[8:], blockSize)
}

// SetNet sets the properties of a net device.
func (e *Entry) SetNet(mac [6]byte, mtu uint16) {
	copy(e.Properties[:], mac[:])
	binary.LittleEndian.PutUint16(e.Properties[6:], mtu)
}

// NewHeader returns the ELF header of an x86-64 executable.
func NewHeader(entry uint64) elf.Header64 {
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Entry: entry, Phoff: HeaderSize, Ehsize: HeaderSize, Phentsize: ProgramHeaderSize,
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	h.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	h.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	return h
}
