// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"bytes"
	"encoding/binary"
)

// An elfSpec is a kernel file to build, every field of which a test may spoil.
type elfSpec struct {
	magic             string
	class, data       byte
	kind, machine     uint16
	version           uint32
	size, entrySize   uint16
	entry             uint64
	headers           []headerSpec
	headerCount       int    // when not 0, instead of the real count
	headerOffset      uint64 // when not 0, instead of the real place
	missing, trailing int    // bytes cut off and added at the end
}

// A headerSpec is one program header and its content.
type headerSpec struct {
	kind, flags    uint32
	addr, memSize  uint64
	align          uint64
	content        []byte
	offset         uint64 // when not 0, instead of the content's real place
	claimsFileSize uint64 // when not 0, instead of the content's real size
}

// helloSpec is a small valid spt kernel of ABI 2: a code segment, a data
// segment with zeroed memory behind it, one with zeroed memory alone, an empty
// one, and a manifest of these devices.
func helloSpec(devices ...Device) elfSpec {
	return elfSpec{
		magic: "\x7fELF", class: 2, data: 1, kind: 2, machine: 62, version: 1,
		size: 64, entrySize: 56, entry: 0x100020,
		headers: []headerSpec{
			{kind: 3, flags: flagRead, addr: 0x100000, memSize: 20, align: 8, content: []byte("/nonexistent/solo5/\x00")},
			{kind: programLoad, flags: flagRead | flagExec, addr: 0x100000, memSize: 0x1234, align: 0x1000, content: make([]byte, 0x34)},
			{kind: programLoad, flags: flagRead | flagWrite, addr: 0x102000, memSize: 0x1008, align: 0x1000, content: []byte("somedata")},
			{kind: programLoad, flags: flagRead, align: 0x1000},
			{kind: programLoad, flags: flagRead | flagWrite, addr: 0x104000, memSize: 0x58, align: 0x1000},
			{kind: programNote, content: note(8, 1, "OpenBSD\x00", make([]byte, 4))},
			{kind: programNote, content: abiNote(TargetSPT, 2)},
			{kind: programNote, content: manifestNote(manifestOf(devices...))},
		},
	}
}

// The places of helloSpec's headers.
const (
	helloText     = 1
	helloData     = 2
	helloEmpty    = 3
	helloZero     = 4
	helloABI      = 6
	helloManifest = 7
)

// lklSpec is a kernel as the LKL guests of 2020 are: ABI 1, and a data segment
// that ends inside a page.
func lklSpec() elfSpec {
	s := helloSpec(Device{"rootfs", Block}, Device{"tap", Net})
	s.headers[helloABI].content = abiNote(TargetSPT, 1)
	s.headers[helloData].align = 0x20
	return s
}

// build writes the file: header, program headers, then the contents in turn.
func (s elfSpec) build() []byte {
	le := binary.LittleEndian
	count := len(s.headers)
	if s.headerCount != 0 {
		count = s.headerCount
	}
	table := uint64(64)
	if s.headerOffset != 0 {
		table = s.headerOffset
	}
	out := append([]byte(s.magic), s.class, s.data, 1)
	out = append(out, make([]byte, 9)...)
	out = le.AppendUint16(out, s.kind)
	out = le.AppendUint16(out, s.machine)
	out = le.AppendUint32(out, s.version)
	out = le.AppendUint64(out, s.entry)
	out = le.AppendUint64(out, table)
	out = append(out, make([]byte, 12)...)
	for _, n := range []uint16{s.size, s.entrySize, uint16(count), 0, 0, 0} {
		out = le.AppendUint16(out, n)
	}
	var contents []byte
	place := uint64(64 + 56*len(s.headers))
	for _, h := range s.headers {
		offset, fileSize := place+uint64(len(contents)), uint64(len(h.content))
		if h.offset != 0 {
			offset = h.offset
		}
		if h.claimsFileSize != 0 {
			fileSize = h.claimsFileSize
		}
		out = le.AppendUint32(out, h.kind)
		out = le.AppendUint32(out, h.flags)
		for _, n := range []uint64{offset, h.addr, h.addr, fileSize, h.memSize, h.align} {
			out = le.AppendUint64(out, n)
		}
		contents = append(contents, h.content...)
	}
	out = append(out, contents...)
	out = append(out, make([]byte, s.trailing)...)
	return out[:len(out)-s.missing]
}

// note is an ELF note with its header.
func note(nameSize, kind uint32, name string, content []byte) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, nameSize)
	b = le.AppendUint32(b, uint32(len(content)))
	b = le.AppendUint32(b, kind)
	b = append(b, name...)
	return append(b, content...)
}

func solo5Note(kind uint32, content []byte) []byte {
	return note(6, kind, "Solo5\x00\x00\x00", content)
}

func abiNote(target Target, version uint32) []byte {
	le := binary.LittleEndian
	content := le.AppendUint32(nil, uint32(target))
	content = le.AppendUint32(content, version)
	return solo5Note(noteABI, append(content, make([]byte, 8)...))
}

// A manifestSpec is a manifest to build, and to spoil.
type manifestSpec struct {
	version uint32
	count   uint32
	entries [][]byte
	extra   []byte
}

func manifestOf(devices ...Device) manifestSpec {
	m := manifestSpec{version: 1, count: uint32(len(devices) + 1), entries: [][]byte{entry("", 1<<30)}}
	for _, d := range devices {
		m.entries = append(m.entries, entry(d.Name, uint32(d.Type)))
	}
	return m
}

func entry(name string, kind uint32) []byte {
	b := make([]byte, 104)
	copy(b, name)
	binary.LittleEndian.PutUint32(b[68:], kind)
	return b
}

func manifestNote(m manifestSpec) []byte {
	le := binary.LittleEndian
	content := make([]byte, 4)
	content = le.AppendUint32(content, m.version)
	content = le.AppendUint32(content, m.count)
	content = append(content, bytes.Join(m.entries, nil)...)
	return solo5Note(noteManifest, append(content, m.extra...))
}
