// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

// maxABISize is the maximum size of the ABI note's descriptor, in bytes. Solo5's
// tenders accept twice the size of the structure.
const maxABISize = 2 * solo5elf.ABISize

// note finds the note of an owner and type and returns its descriptor, whose size
// must be between minSize and maxSize. It returns nil if there is no such note.
//
// Like Solo5's tenders, it reads only the first note of each PT_NOTE, and returns
// the first of several matching notes.
func (f file) note(headers []programHeader, owner string, noteType uint32, minSize, maxSize uint64) ([]byte, error) {
	headerSize := solo5elf.NoteHeaderSize + uint64(len(owner)+3)&^3
	for _, p := range headers {
		if p.Type != uint32(elf.PT_NOTE) {
			continue
		}
		name := fmt.Sprintf("the note of program header %d", p.index)
		if p.Filesz < solo5elf.NoteHeaderSize {
			return nil, noteSizeError(name, p.Filesz, solo5elf.NoteHeaderSize, f.size)
		}
		if p.Filesz < headerSize {
			continue
		}
		b, err := f.bytes(p.Off, headerSize, name)
		if err != nil {
			return nil, err
		}
		var h solo5elf.NoteHeader
		if _, err := binary.Decode(b, binary.LittleEndian, &h); err != nil {
			return nil, err
		}
		if h.NameSize != uint32(len(owner)) || !bytes.HasPrefix(b[solo5elf.NoteHeaderSize:], []byte(owner)) || h.Type != noteType {
			continue
		}
		size := uint64(h.DescriptorSize)
		if limit := min(maxSize, p.Filesz-headerSize); size < minSize || size > limit {
			return nil, noteSizeError(name, size, minSize, limit)
		}
		return f.bytes(p.Off+headerSize, size, name)
	}
	return nil, nil
}

// noteSizeError repeats the message of Solo5's tenders.
func noteSizeError(name string, size, minSize, maxSize uint64) error {
	if minSize > maxSize {
		return fmt.Errorf("%w: %s: note does not fall within valid size: the program header has %d bytes for it, but it needs at least %d",
			ErrInvalid, name, maxSize, minSize)
	}
	return fmt.Errorf("%w: %s: note does not fall within valid size: %d bytes, must be %d to %d",
		ErrInvalid, name, size, minSize, maxSize)
}

// abi reads the target and ABI version.
func (f file) abi(headers []programHeader) (Target, uint32, error) {
	b, err := f.note(headers, solo5elf.Owner, solo5elf.NoteABI, solo5elf.ABISize, maxABISize)
	if err != nil {
		return 0, 0, err
	}
	if b == nil {
		return 0, 0, fmt.Errorf("%w: an ELF executable without Solo5's ABI note", ErrNotSolo5)
	}
	var abi solo5elf.ABI
	if _, err := binary.Decode(b, binary.LittleEndian, &abi); err != nil {
		return 0, 0, err
	}
	if _, ok := targetNames[Target(abi.Target)]; !ok {
		return 0, 0, fmt.Errorf("%w: %d", ErrTarget, abi.Target)
	}
	if abi.Version != 1 && abi.Version != 2 {
		return 0, 0, fmt.Errorf("%w: %d, must be 1 or 2", ErrABI, abi.Version)
	}
	return Target(abi.Target), abi.Version, nil
}

// manifest reads the devices that the unikernel declares.
func (f file) manifest(headers []programHeader) ([]Device, error) {
	const minSize = solo5elf.ManifestPadding + solo5elf.ManifestHeaderSize
	b, err := f.note(headers, solo5elf.Owner, solo5elf.NoteManifest, minSize, minSize+solo5elf.MaxEntries*solo5elf.EntrySize)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, fmt.Errorf("%w: the file has no manifest", ErrManifest)
	}
	var h solo5elf.ManifestHeader
	if _, err := binary.Decode(b[solo5elf.ManifestPadding:], binary.LittleEndian, &h); err != nil {
		return nil, err
	}
	b = b[minSize:]
	switch {
	case h.Version != solo5elf.ManifestVersion:
		return nil, fmt.Errorf("%w: version %d, must be %d", ErrManifest, h.Version, solo5elf.ManifestVersion)
	case h.Entries < 1 || h.Entries > solo5elf.MaxEntries:
		return nil, fmt.Errorf("%w: %d entries, must be 1 to %d", ErrManifest, h.Entries, solo5elf.MaxEntries)
	case len(b) != int(h.Entries)*solo5elf.EntrySize:
		return nil, fmt.Errorf("%w: %d entries of %d bytes do not fill %d bytes", ErrManifest, h.Entries, solo5elf.EntrySize, len(b))
	}
	entries := make([]solo5elf.Entry, h.Entries)
	if _, err := binary.Decode(b, binary.LittleEndian, entries); err != nil {
		return nil, err
	}
	return devices(entries)
}

// devices checks a manifest's entries, at least the reserved first one, and
// returns the devices.
func devices(entries []solo5elf.Entry) ([]Device, error) {
	seen := make(map[string]bool)
	list := make([]Device, 0, len(entries)-1)
	for i, e := range entries {
		name, _, _ := bytes.Cut(e.Name[:], []byte{0})
		problem := ""
		switch {
		case e.Attached != 0:
			problem = "already attached in the file"
		case i == 0 && (e.Type != solo5elf.TypeReserved || len(name) != 0):
			problem = "the first entry must be the reserved one"
		case i == 0:
			continue
		case e.Name[len(e.Name)-1] != 0:
			problem = fmt.Sprintf("the name is longer than %d bytes", MaxDeviceName)
		case !ValidDeviceName(string(name)):
			problem = fmt.Sprintf("the name must be 1 to %d letters and digits", MaxDeviceName)
		case e.Type != uint32(Block) && e.Type != uint32(Net):
			problem = fmt.Sprintf("unknown device type %d", e.Type)
		case seen[string(name)]:
			problem = "duplicate device name"
		}
		if problem != "" {
			return nil, fmt.Errorf("%w: entry %d (%q): %s", ErrManifest, i, name, problem)
		}
		seen[string(name)] = true
		list = append(list, Device{Name: string(name), Type: DeviceType(e.Type)})
	}
	return list, nil
}

// ValidDeviceName reports whether Solo5's elftool accepts a device name: 1 to 67
// letters and digits.
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
