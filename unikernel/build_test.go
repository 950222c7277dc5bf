// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"debug/elf"
	"encoding/binary"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

// A testFile is a kernel file that a test can damage.
type testFile struct {
	solo5elf.File
	missing, trailing int // bytes cut off and appended
}

func (f *testFile) bytes() []byte {
	b := append(f.Bytes(), make([]byte, f.trailing)...)
	return b[:len(b)-f.missing]
}

// helloFile is a small valid spt kernel of ABI 2. It has a code segment, a data
// segment with zeroed memory after it, an empty segment, a segment of zeroed
// memory only, and a manifest of these devices.
func helloFile(devices ...Device) *testFile {
	const readOnly, readWrite = uint32(elf.PF_R), uint32(elf.PF_R | elf.PF_W)
	text := solo5elf.Load(0x100000, elf.PF_R|elf.PF_X, make([]byte, 0x34))
	text.Memsz = 0x1234
	data := solo5elf.Load(0x102000, elf.PF_R|elf.PF_W, []byte("somedata"))
	data.Memsz = 0x1008
	return &testFile{File: solo5elf.File{
		Header: solo5elf.NewHeader(0x100020),
		Programs: []solo5elf.Program{
			{Prog64: elf.Prog64{Type: uint32(elf.PT_INTERP), Flags: readOnly, Align: 1}, Content: []byte("/nonexistent/solo5/\x00")},
			helloText:  text,
			helloData:  data,
			helloEmpty: {Prog64: elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: readOnly, Align: 0x1000}},
			helloZero: {Prog64: elf.Prog64{
				Type: uint32(elf.PT_LOAD), Flags: readWrite, Vaddr: 0x104000, Memsz: 0x58, Align: 0x1000,
			}},
			helloForeign:  solo5elf.NoteProgram(solo5elf.Note("OpenBSD\x00", 1, make([]byte, 4))),
			helloABI:      solo5elf.NoteProgram(abiNote(TargetSPT, 2)),
			helloManifest: solo5elf.NoteProgram(solo5elf.ManifestNote(solo5elf.ManifestHeader{}, entries(devices))),
		},
	}}
}

// The indices of helloFile's program headers.
const (
	helloText     = 1
	helloData     = 2
	helloEmpty    = 3
	helloZero     = 4
	helloForeign  = 5
	helloABI      = 6
	helloManifest = 7
)

// legacyFile is like the file of a legacy LKL guest: ABI 1, and a data segment
// whose end is not aligned to a page.
func legacyFile() *testFile {
	f := helloFile(Device{"rootfs", Block}, Device{"tap", Net})
	f.Programs[helloABI].Content = abiNote(TargetSPT, 1)
	f.Programs[helloData].Align = 0x20
	return f
}

func abiNote(target Target, version uint32) []byte {
	return solo5elf.ABINote(solo5elf.ABI{Target: uint32(target), Version: version})
}

func solo5Note(noteType uint32, descriptor []byte) []byte {
	return solo5elf.Note(solo5elf.Owner, noteType, descriptor)
}

func entries(devices []Device) []solo5elf.Entry {
	var list []solo5elf.Entry
	for _, d := range devices {
		list = append(list, solo5elf.NewEntry(d.Name, uint32(d.Type)))
	}
	return list
}

func (f *testFile) setDevices(devices ...Device) {
	f.Programs[helloManifest].Content = solo5elf.ManifestNote(solo5elf.ManifestHeader{}, entries(devices))
}

// A testManifest is a manifest that a test can damage.
type testManifest struct {
	solo5elf.ManifestHeader
	entries []solo5elf.Entry
	extra   []byte // after the entries
}

func (m *testManifest) note() []byte {
	b := make([]byte, solo5elf.ManifestPadding)
	b, _ = binary.Append(b, binary.LittleEndian, m.ManifestHeader)
	b, _ = binary.Append(b, binary.LittleEndian, m.entries)
	return solo5Note(solo5elf.NoteManifest, append(b, m.extra...))
}
