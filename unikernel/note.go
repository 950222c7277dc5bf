// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The notes of Solo5 (elf_abi.h and mft_abi.h), and that of LKL guests (see
// Features). A note's header has three words (name size, descriptor size, type)
// and the owner's name, ended by a zero and padded to 4 bytes.
const (
	elfNoteHeaderSize = 12

	ownerSolo5 = "Solo5\x00"
	ownerLKL   = "nomad-driver-lkl\x00"

	noteLKL    = 0x314c4b4c // "LKL1"
	lklSize    = 4          // a word of bits
	lklMaxSize = 64

	noteABI      = 0x31494241 // "ABI1"
	noteManifest = 0x3154464d // "MFT1"

	abiSize    = 16 // target, version and two reserved words
	abiMaxSize = 2 * abiSize

	// The manifest is aligned to 8 bytes in its note, hence the padding.
	manifestPadding    = 4
	manifestHeaderSize = 8 // version, count of entries
	manifestVersion    = 1
	manifestMaxEntries = MaxDevices + 1

	entrySize     = 104
	entryType     = MaxDeviceName + 1
	entryAttached = 96
	entryReserved = 1 << 30
)

// note finds a note by its owner and type and returns its descriptor, whose
// size must lie between the two given; nil when there is none. As Solo5's linker
// scripts and tenders have it, only the first note of a PT_NOTE counts, and of two
// notes of a type the first.
func (f file) note(headers []programHeader, owner string, kind uint32, minSize, maxSize uint64) ([]byte, error) {
	headerSize := elfNoteHeaderSize + uint64(len(owner)+3)&^3
	for _, p := range headers {
		if p.kind != programNote {
			continue
		}
		what := fmt.Sprintf("the note of program header %d", p.index)
		if p.fileSize < elfNoteHeaderSize {
			return nil, badNote(what, p.fileSize, elfNoteHeaderSize, f.size)
		}
		if p.fileSize < headerSize {
			continue
		}
		h, err := f.bytes(p.offset, headerSize, what)
		if err != nil {
			return nil, err
		}
		le := binary.LittleEndian
		nameSize, size := le.Uint32(h[0:]), uint64(le.Uint32(h[4:]))
		if nameSize != uint32(len(owner)) || !bytes.HasPrefix(h[elfNoteHeaderSize:], []byte(owner)) || le.Uint32(h[8:]) != kind {
			continue
		}
		if limit := min(maxSize, p.fileSize-headerSize); size < minSize || size > limit {
			return nil, badNote(what, size, minSize, limit)
		}
		return f.bytes(p.offset+headerSize, size, what)
	}
	return nil, nil
}

// badNote is the error for a note of a wrong size, in the words of Solo5's
// tenders.
func badNote(what string, size, least, most uint64) error {
	if least > most {
		return fmt.Errorf("%w: %s: note does not fall within valid size: there is room for %d bytes, it has at least %d",
			ErrInvalid, what, most, least)
	}
	return fmt.Errorf("%w: %s: note does not fall within valid size: %d bytes, where %d to %d are valid",
		ErrInvalid, what, size, least, most)
}

// abi reads what the unikernel was linked for.
func (f file) abi(headers []programHeader) (Target, uint32, error) {
	b, err := f.note(headers, ownerSolo5, noteABI, abiSize, abiMaxSize)
	if err != nil {
		return 0, 0, err
	}
	if b == nil {
		return 0, 0, fmt.Errorf("%w: an ELF executable without Solo5's ABI note", ErrNotSolo5)
	}
	target, version := Target(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint32(b[4:])
	if _, ok := targetNames[target]; !ok {
		return 0, 0, fmt.Errorf("%w: %d", ErrTarget, uint32(target))
	}
	if version != 1 && version != 2 {
		return 0, 0, fmt.Errorf("%w: %d, where 1 and 2 are known", ErrABI, version)
	}
	return target, version, nil
}

// manifest reads the devices that the unikernel declares.
func (f file) manifest(headers []programHeader) ([]Device, error) {
	const least = manifestPadding + manifestHeaderSize
	b, err := f.note(headers, ownerSolo5, noteManifest, least, least+manifestMaxEntries*entrySize)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, fmt.Errorf("%w: there is none", ErrManifest)
	}
	b = b[manifestPadding:]
	version, count := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	b = b[manifestHeaderSize:]
	switch {
	case version != manifestVersion:
		return nil, fmt.Errorf("%w: version %d, where %d is known", ErrManifest, version, manifestVersion)
	case count < 1 || count > manifestMaxEntries:
		return nil, fmt.Errorf("%w: %d entries, where 1 to %d are allowed", ErrManifest, count, manifestMaxEntries)
	case len(b) != int(count)*entrySize:
		return nil, fmt.Errorf("%w: %d entries in %d bytes, where each has %d", ErrManifest, count, len(b), entrySize)
	}
	return devices(b)
}

// devices reads the entries of a manifest; b holds a whole number of them, and
// at least the reserved first one.
func devices(b []byte) ([]Device, error) {
	seen := make(map[string]bool)
	list := make([]Device, 0, len(b)/entrySize-1)
	for i := 0; len(b) > 0; i, b = i+1, b[entrySize:] {
		kind := binary.LittleEndian.Uint32(b[entryType:])
		name, _, _ := bytes.Cut(b[:entryType], []byte{0})
		wrong := func(why string) ([]Device, error) {
			return nil, fmt.Errorf("%w: entry %d (%q): %s", ErrManifest, i, name, why)
		}
		switch {
		case b[entryAttached] != 0:
			return wrong("attached already in the file")
		case i == 0 && (kind != entryReserved || len(name) != 0):
			return wrong("the first entry is not the reserved one")
		case i == 0:
			continue
		case b[entryType-1] != 0:
			return wrong(fmt.Sprintf("a name longer than %d bytes", MaxDeviceName))
		case !ValidDeviceName(string(name)):
			return wrong("a name that is not 1 to 67 letters and digits")
		case kind != uint32(Block) && kind != uint32(Net):
			return wrong(fmt.Sprintf("unknown device type %d", kind))
		case seen[string(name)]:
			return wrong("a name that is there twice")
		}
		seen[string(name)] = true
		list = append(list, Device{Name: string(name), Type: DeviceType(kind)})
	}
	return list, nil
}

// ValidDeviceName tells whether a name is one that Solo5's elftool lets
// through: 1 to 67 letters and digits.
func ValidDeviceName(name string) bool {
	if name == "" || len(name) > MaxDeviceName {
		return false
	}
	for _, c := range []byte(name) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
