// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

// maxProgramHeaders bounds the memory that a hostile file can make this process
// and the tender use. Solo5's linker scripts create at most nine headers.
const maxProgramHeaders = 64

// A programHeader is an entry of the program header table.
type programHeader struct {
	index int
	elf.Prog64
}

// header reads and checks the ELF header. Like Solo5, it ignores OSABI, because
// compilers set different values.
func (f file) header() (elf.Header64, error) {
	var h elf.Header64
	if f.size < solo5elf.HeaderSize {
		return h, fmt.Errorf("%w: a file of %d bytes is too short for an ELF header", ErrNotSolo5, f.size)
	}
	if err := f.decode(&h, 0, solo5elf.HeaderSize, "the ELF header"); err != nil {
		return h, err
	}
	class, data := h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA]
	var err error
	switch {
	case !bytes.HasPrefix(h.Ident[:], []byte(elf.ELFMAG)):
		err = fmt.Errorf("%w: the file has no ELF header", ErrNotSolo5)
	case class != byte(elf.ELFCLASS64) || data != byte(elf.ELFDATA2LSB):
		err = fmt.Errorf("%w: ELF class %d and data %d, but a 64-bit little-endian file has 2 and 1", ErrMachine, class, data)
	case h.Machine != uint16(elf.EM_X86_64):
		err = fmt.Errorf("%w: ELF machine %d, but x86-64 is %d", ErrMachine, h.Machine, elf.EM_X86_64)
	case h.Version != uint32(elf.EV_CURRENT):
		err = fmt.Errorf("%w: unknown ELF version %d", ErrInvalid, h.Version)
	case h.Type != uint16(elf.ET_EXEC):
		err = fmt.Errorf("%w: ELF type %d, but a unikernel is a fixed executable (%d)", ErrNotSolo5, h.Type, elf.ET_EXEC)
	case h.Ehsize != solo5elf.HeaderSize:
		err = fmt.Errorf("%w: an ELF header of %d bytes, must be %d", ErrInvalid, h.Ehsize, solo5elf.HeaderSize)
	case h.Phentsize != solo5elf.ProgramHeaderSize:
		err = fmt.Errorf("%w: program headers of %d bytes, must be %d", ErrInvalid, h.Phentsize, solo5elf.ProgramHeaderSize)
	case h.Phnum == 0:
		err = fmt.Errorf("%w: no program headers", ErrInvalid)
	case h.Phnum > maxProgramHeaders:
		err = fmt.Errorf("%w: %d program headers, must be at most %d", ErrInvalid, h.Phnum, maxProgramHeaders)
	}
	return h, err
}

// programHeaders reads the program header table.
func (f file) programHeaders(h elf.Header64) ([]programHeader, error) {
	table := make([]elf.Prog64, h.Phnum)
	if err := f.decode(table, h.Phoff, uint64(h.Phnum)*solo5elf.ProgramHeaderSize, "the program header table"); err != nil {
		return nil, err
	}
	headers := make([]programHeader, len(table))
	for i, p := range table {
		headers[i] = programHeader{i, p}
	}
	return headers, nil
}

// decode reads a structure, or a slice of structures, of size bytes.
func (f file) decode(into any, offset, size uint64, name string) error {
	b, err := f.bytes(offset, size, name)
	if err != nil {
		return err
	}
	_, err = binary.Decode(b, binary.LittleEndian, into)
	return err
}

// segments returns the segments to load, at least one.
func (f file) segments(headers []programHeader) ([]Segment, error) {
	var segments []Segment
	var last Segment
	for _, p := range headers {
		// An ABI 2 guest without thread-local data has an empty segment for it.
		if p.Type != uint32(elf.PT_LOAD) || (p.Memsz == 0 && p.Filesz == 0) {
			continue
		}
		s, err := f.segment(p, last)
		if err != nil {
			return nil, fmt.Errorf("%w: program header %d (a segment at %#x): %w", ErrInvalid, p.index, p.Vaddr, err)
		}
		segments = append(segments, s)
		last = s
	}
	if len(segments) == 0 {
		return nil, fmt.Errorf("%w: no segments to load", ErrInvalid)
	}
	return segments, nil
}

// segment checks a program header of type PT_LOAD against the file and the
// previous segment. It ignores the physical address.
func (f file) segment(p programHeader, last Segment) (Segment, error) {
	flags := elf.ProgFlag(p.Flags)
	s := Segment{
		Offset: p.Off, FileSize: p.Filesz, Addr: p.Vaddr, MemSize: p.Memsz,
		Read: flags&elf.PF_R != 0, Write: flags&elf.PF_W != 0, Exec: flags&elf.PF_X != 0,
	}
	if s.Write && s.Exec {
		return s, errors.New("it is both writable and executable")
	}
	if p.Filesz == 0 {
		// Zeroed memory only. Solo5's tenders ignore the flags, so that it
		// stays readable and writable like the heap.
		s.Read, s.Write, s.Exec = true, true, false
	}
	if p.Align == 0 || p.Align&(p.Align-1) != 0 {
		return s, fmt.Errorf("alignment %#x is not a power of two", p.Align)
	}
	if p.Memsz < p.Filesz {
		return s, fmt.Errorf("its content of %d bytes does not fit into its memory of %d bytes", p.Filesz, p.Memsz)
	}
	if !f.holds(p.Off, p.Filesz) {
		return s, fmt.Errorf("its content (%d bytes at offset %d) extends beyond the file's end at %d", p.Filesz, p.Off, f.size)
	}
	s.Start = p.Vaddr &^ (p.Align - 1)
	end, ok := roundedEnd(p)
	if s.End = end; !ok {
		return s, errors.New("its end is beyond the address space")
	}
	switch {
	case s.Start < MinLoadAddress:
		return s, fmt.Errorf("it starts at %#x, below %#x", s.Start, uint64(MinLoadAddress))
	case s.Start%PageSize != 0:
		return s, fmt.Errorf("its start %#x is not aligned to a page", s.Start)
	case p.Vaddr < last.Addr:
		return s, fmt.Errorf("it is below the previous segment at %#x", last.Addr)
	case s.Start < last.End:
		return s, fmt.Errorf("it overlaps the previous segment, which ends at %#x", last.End)
	}
	return s, nil
}

// roundedEnd returns a segment's end, rounded up to its alignment and to the
// page. It returns false on overflow. Solo5's tenders refuse an end that is not
// aligned to a page, but legacy LKL guests have such segments.
func roundedEnd(p programHeader) (uint64, bool) {
	end := p.Vaddr + p.Memsz
	if end < p.Vaddr {
		return 0, false
	}
	mask := max(p.Align, PageSize) - 1
	rounded := (end + mask) &^ mask
	return rounded, rounded >= end
}
