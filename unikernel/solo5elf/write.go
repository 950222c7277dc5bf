// SPDX-License-Identifier: MPL-2.0

package solo5elf

import (
	"debug/elf"
	"encoding/binary"
)

// largestAlignment bounds the padding before a program's content, in bytes. The
// page suffices to map the content.
const largestAlignment = 0x1000

// A File is an ELF executable to write.
type File struct {
	Header   elf.Header64
	Programs []Program
}

// A Program is a program header with its content in the file.
type Program struct {
	elf.Prog64
	Content []byte
}

// New returns an x86-64 unikernel of a target and ABI version that declares
// these devices. Its programs are an interpreter, as Solo5's toolchain writes,
// the two notes, and the segments given here.
func New(abi ABI, entry uint64, devices []Entry, segments ...Program) *File {
	programs := []Program{
		{Prog64: elf.Prog64{Type: uint32(elf.PT_INTERP), Flags: uint32(elf.PF_R), Align: 1}, Content: []byte("/nonexistent/solo5/\x00")},
		NoteProgram(ABINote(abi)),
		NoteProgram(ManifestNote(ManifestHeader{}, devices)),
	}
	return &File{Header: NewHeader(entry), Programs: append(programs, segments...)}
}

// Load returns a segment that is loaded at an address.
func Load(addr uint64, flags elf.ProgFlag, content []byte) Program {
	return Program{Content: content, Prog64: elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(flags), Vaddr: addr, Paddr: addr,
		Memsz: uint64(len(content)), Align: largestAlignment,
	}}
}

// NoteProgram returns the program header of a note.
func NoteProgram(note []byte) Program {
	return Program{Content: note, Prog64: elf.Prog64{
		Type: uint32(elf.PT_NOTE), Flags: uint32(elf.PF_R), Align: 4,
	}}
}

// Note returns an ELF note. The owner's name must end with a NUL.
func Note(owner string, noteType uint32, descriptor []byte) []byte {
	b := encode(nil, NoteHeader{uint32(len(owner)), uint32(len(descriptor)), noteType})
	b = append(b, owner...)
	b = append(b, make([]byte, -len(owner)&3)...)
	return append(b, descriptor...)
}

// ABINote returns the note that declares a unikernel's ABI.
func ABINote(abi ABI) []byte { return Note(Owner, NoteABI, encode(nil, abi)) }

// ManifestNote returns the note that declares a unikernel's devices. It inserts
// the reserved first entry. Zero fields of the header are filled in.
func ManifestNote(h ManifestHeader, devices []Entry) []byte {
	entries := append([]Entry{NewEntry("", TypeReserved)}, devices...)
	if h.Version == 0 {
		h.Version = ManifestVersion
	}
	if h.Entries == 0 {
		h.Entries = uint32(len(entries))
	}
	descriptor := encode(make([]byte, ManifestPadding), h)
	return Note(Owner, NoteManifest, encode(descriptor, entries))
}

// Bytes returns the file: header, program header table, and the contents in
// order, each aligned as its program header says, up to a page. It computes
// the fields Phnum, Off and Filesz where they are 0.
func (f *File) Bytes() []byte {
	header := f.Header
	if header.Phnum == 0 {
		header.Phnum = uint16(len(f.Programs))
	}
	start := HeaderSize + ProgramHeaderSize*len(f.Programs)
	table := encode(nil, header)
	var contents []byte
	for _, p := range f.Programs {
		if len(p.Content) > 0 {
			contents = append(contents, make([]byte, padding(uint64(start+len(contents)), &p.Prog64))...)
		}
		if p.Off == 0 {
			p.Off = uint64(start + len(contents))
		}
		if p.Filesz == 0 {
			p.Filesz = uint64(len(p.Content))
		}
		table = encode(table, p.Prog64)
		contents = append(contents, p.Content...)
	}
	return append(table, contents...)
}

// padding returns the distance from an offset to the next one that is congruent
// to the program's address modulo its alignment.
func padding(offset uint64, p *elf.Prog64) uint64 {
	align := min(p.Align, largestAlignment)
	if align == 0 {
		return 0
	}
	return (p.Vaddr%align + align - offset%align) % align
}

// encode appends a structure, or a slice of structures. binary.Append fails only
// for types of variable size.
func encode(b []byte, v any) []byte {
	b, _ = binary.Append(b, binary.LittleEndian, v)
	return b
}
