// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Sizes and values of the ELF64 format, as in the System V ABI, chapters 4
// and 5, and its x86-64 supplement.
const (
	elfHeaderSize     = 64
	programHeaderSize = 56

	elfClass64      = 2
	elfLittleEndian = 1
	elfVersion      = 1
	elfExecutable   = 2
	elfX86_64       = 62

	programLoad = 1
	programNote = 4

	flagExec  = 1
	flagWrite = 2
	flagRead  = 4
)

// maxProgramHeaders bounds what a hostile file can make us and the tender
// hold. Solo5's linker scripts make at most nine.
const maxProgramHeaders = 64

var elfMagic = []byte("\x7fELF")

// An elfHeader is what matters of the file's first 64 bytes.
type elfHeader struct {
	entry   uint64
	headers uint64 // offset of the program headers
	count   uint16
}

// A programHeader is one entry of the program header table, by its place.
type programHeader struct {
	index            int
	kind, flags      uint32
	offset, fileSize uint64
	addr, memSize    uint64
	align            uint64
}

// header reads and checks the ELF header. OSABI is ignored, as Solo5 does,
// since compilers set it at will.
func (f file) header() (elfHeader, error) {
	if f.size < elfHeaderSize {
		return elfHeader{}, fmt.Errorf("%w: a file of %d bytes is too short for an ELF header", ErrNotSolo5, f.size)
	}
	b, err := f.bytes(0, elfHeaderSize, "the ELF header")
	if err != nil {
		return elfHeader{}, err
	}
	le := binary.LittleEndian
	kind, machine, version := le.Uint16(b[16:]), le.Uint16(b[18:]), le.Uint32(b[20:])
	size, entrySize, count := le.Uint16(b[52:]), le.Uint16(b[54:]), le.Uint16(b[56:])
	switch {
	case !bytes.HasPrefix(b, elfMagic):
		err = fmt.Errorf("%w: no ELF file", ErrNotSolo5)
	case b[4] != elfClass64 || b[5] != elfLittleEndian:
		err = fmt.Errorf("%w: ELF class %d, data %d, where a 64-bit little endian file has 2, 1", ErrMachine, b[4], b[5])
	case machine != elfX86_64:
		err = fmt.Errorf("%w: ELF machine %d, where x86-64 is %d", ErrMachine, machine, elfX86_64)
	case version != elfVersion:
		err = fmt.Errorf("%w: ELF version %d", ErrInvalid, version)
	case kind != elfExecutable:
		err = fmt.Errorf("%w: ELF type %d, where a unikernel is a fixed executable (%d)", ErrNotSolo5, kind, elfExecutable)
	case size != elfHeaderSize:
		err = fmt.Errorf("%w: an ELF header of %d bytes, where it has %d", ErrInvalid, size, elfHeaderSize)
	case entrySize != programHeaderSize:
		err = fmt.Errorf("%w: program headers of %d bytes, where they have %d", ErrInvalid, entrySize, programHeaderSize)
	case count == 0:
		err = fmt.Errorf("%w: no program headers", ErrInvalid)
	case count > maxProgramHeaders:
		err = fmt.Errorf("%w: %d program headers, at most %d are read", ErrInvalid, count, maxProgramHeaders)
	}
	return elfHeader{entry: le.Uint64(b[24:]), headers: le.Uint64(b[32:]), count: count}, err
}

// programHeaders reads the whole program header table.
func (f file) programHeaders(h elfHeader) ([]programHeader, error) {
	b, err := f.bytes(h.headers, uint64(h.count)*programHeaderSize, "the program header table")
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	headers := make([]programHeader, h.count)
	for i := range headers {
		e := b[i*programHeaderSize:]
		headers[i] = programHeader{
			index:    i,
			kind:     le.Uint32(e[0:]),
			flags:    le.Uint32(e[4:]),
			offset:   le.Uint64(e[8:]),
			addr:     le.Uint64(e[16:]), // p_vaddr; p_paddr at 24 is ignored
			fileSize: le.Uint64(e[32:]),
			memSize:  le.Uint64(e[40:]),
			align:    le.Uint64(e[48:]),
		}
	}
	return headers, nil
}

// segments makes the list of what is loaded, of at least one segment.
func (f file) segments(headers []programHeader) ([]Segment, error) {
	var segments []Segment
	var last Segment
	for _, p := range headers {
		// An ABI 2 guest without thread-local data has an empty one.
		if p.kind != programLoad || (p.memSize == 0 && p.fileSize == 0) {
			continue
		}
		s, err := f.segment(p, last)
		if err != nil {
			return nil, err
		}
		segments = append(segments, s)
		last = s
	}
	if len(segments) == 0 {
		return nil, fmt.Errorf("%w: nothing to load", ErrInvalid)
	}
	return segments, nil
}

// segment checks one program header of type PT_LOAD against the file and the
// segment before it.
func (f file) segment(p programHeader, last Segment) (Segment, error) {
	wrong := func(format string, args ...any) (Segment, error) {
		return Segment{}, fmt.Errorf("%w: program header %d (a segment at %#x): %s", ErrInvalid, p.index, p.addr, fmt.Sprintf(format, args...))
	}
	s := Segment{
		Offset: p.offset, FileSize: p.fileSize, Addr: p.addr, MemSize: p.memSize,
		Read: p.flags&flagRead != 0, Write: p.flags&flagWrite != 0, Exec: p.flags&flagExec != 0,
	}
	if s.Write && s.Exec {
		return wrong("it wants to be written and executed")
	}
	if p.fileSize == 0 {
		// Zeroed memory alone. Solo5 leaves it as the guest's memory is,
		// whatever the linker put into the flags.
		s.Read, s.Write, s.Exec = true, true, false
	}
	if p.align == 0 || p.align&(p.align-1) != 0 {
		return wrong("its alignment %#x is not a power of two", p.align)
	}
	if p.memSize < p.fileSize {
		return wrong("its content of %d bytes does not fit into its memory of %d", p.fileSize, p.memSize)
	}
	if !f.holds(p.offset, p.fileSize) {
		return wrong("its content (%d bytes at offset %d) lies beyond the file's end at %d", p.fileSize, p.offset, f.size)
	}
	s.Start = p.addr &^ (p.align - 1)
	end, ok := roundedEnd(p)
	if s.End = end; !ok {
		return wrong("its end is beyond the address space")
	}
	switch {
	case s.Start < MinLoadAddress:
		return wrong("it starts at %#x, below %#x", s.Start, uint64(MinLoadAddress))
	case s.Start%PageSize != 0:
		return wrong("its start %#x is inside a page", s.Start)
	case p.addr < last.Addr:
		return wrong("it is below the segment before it, at %#x", last.Addr)
	case s.Start < last.End:
		return wrong("it overlaps the segment before it, which ends at %#x", last.End)
	}
	return s, nil
}

// roundedEnd is a segment's end rounded up to its alignment and to the page;
// false where that overflows. Solo5's tenders refuse an end inside a page; the
// LKL guests of 2020 have such.
func roundedEnd(p programHeader) (uint64, bool) {
	end := p.addr + p.memSize
	if end < p.addr {
		return 0, false
	}
	mask := max(p.align, PageSize) - 1
	rounded := (end + mask) &^ mask
	return rounded, rounded >= end
}
