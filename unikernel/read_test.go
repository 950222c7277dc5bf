// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

func read(b []byte) (*Info, error) { return Read(bytes.NewReader(b), int64(len(b))) }

func TestRead_ReadsAKernel(t *testing.T) {
	s := helloFile(Device{"storage", Block}, Device{"service0", Net})
	m, err := read(s.bytes())
	must.NoError(t, err)

	must.Eq(t, TargetSPT, m.Target)
	must.Eq(t, 2, m.ABI)
	must.Eq(t, 0x100020, m.Entry)
	must.Eq(t, []Device{{"storage", Block}, {"service0", Net}}, m.Manifest)
	must.Eq(t, 0x105000, m.End)

	must.Eq(t, []Segment{
		{
			Offset: 0x1000, FileSize: 0x34, Addr: 0x100000, MemSize: 0x1234,
			Start: 0x100000, End: 0x102000, Read: true, Exec: true,
		},
		{
			Offset: 0x2000, FileSize: 8, Addr: 0x102000, MemSize: 0x1008,
			Start: 0x102000, End: 0x104000, Read: true, Write: true,
		},
		{
			Offset: 0x2008, Addr: 0x104000, MemSize: 0x58,
			Start: 0x104000, End: 0x105000, Read: true, Write: true,
		},
	}, m.Segments)
}

func TestRead_AcceptsLegacyGuests(t *testing.T) {
	m, err := read(legacyFile().bytes())
	must.NoError(t, err)
	must.Eq(t, 1, m.ABI)
	must.Eq(t, FlavorLKL, m.Flavor())
	must.Eq(t, 0x104000, m.Segments[1].End, must.Sprint("the end must be rounded up to the page"))
}

func TestRead_AcceptsEverythingThatSolo5Does(t *testing.T) {
	cases := map[string]func(*testFile){
		"another target": func(s *testFile) { s.Programs[helloABI].Content = abiNote(TargetHVT, 1) },
		"long ABI note": func(s *testFile) {
			s.Programs[helloABI].Content = solo5Note(solo5elf.NoteABI, append(abiNote(2, 1)[20:], 0, 0, 0, 0))
		},
		"bytes after a note":                func(s *testFile) { s.Programs[helloABI].Content = append(abiNote(2, 1), 1, 2, 3) },
		"foreign note without a descriptor": func(s *testFile) { s.Programs[helloForeign].Content = solo5elf.Note("", 7, nil) },
		"second ABI note is invalid":        func(s *testFile) { s.Programs = append(s.Programs, solo5elf.NoteProgram(abiNote(9, 9))) },
		"start inside the first page":       func(s *testFile) { s.Programs[helloText].Vaddr, s.Programs[helloText].Memsz = 0x100010, 0x1300 },
		"wide alignment":                    func(s *testFile) { s.Programs[helloZero].Vaddr, s.Programs[helloZero].Align = 0x200000, 0x200000 },
		"execute only":                      func(s *testFile) { s.Programs[helloText].Flags = uint32(elf.PF_X) },
		"zeroed memory without permissions": func(s *testFile) { s.Programs[helloZero].Flags = 0 },
		"empty segment out of place":        func(s *testFile) { s.Programs[helloEmpty].Vaddr, s.Programs[helloEmpty].Align = 1, 0 },
		"manifest without devices":          func(s *testFile) { s.setDevices() },
		"bytes after the last segment":      func(s *testFile) { s.trailing = 100 },
		"manifest with all 63 devices":      func(s *testFile) { s.setDevices(numbered(63)...) },
		"name of 67 bytes": func(s *testFile) {
			s.setDevices(Device{longName(67), Net})
		},
		"garbage after the name's NUL": func(s *testFile) { s.Programs[helloManifest].Content[20+4+8+104+9] = 'x' },
		"64 program headers":           func(s *testFile) { s.Programs = append(s.Programs, make([]solo5elf.Program, 64-len(s.Programs))...) },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			s := helloFile(Device{"service0", Net})
			change(s)
			m, err := read(s.bytes())
			must.NoError(t, err)
			for _, seg := range m.Segments {
				test.False(t, seg.FileSize == 0 && (!seg.Read || !seg.Write))
			}
		})
	}
}

func numbered(n int) []Device {
	var list []Device
	for i := range n {
		list = append(list, Device{fmt.Sprintf("storage%d", i), Block})
	}
	return list
}

func longName(n int) string { return string(bytes.Repeat([]byte{'n'}, n)) }

func textProgram(f *testFile) *solo5elf.Program { return &f.Programs[helloText] }
func dataProgram(f *testFile) *solo5elf.Program { return &f.Programs[helloData] }

var invalidFiles = []struct {
	name   string
	change func(*testFile)
	want   error
	says   string // shows which check refused it
}{
	{"an empty file", func(s *testFile) { s.missing = len(s.bytes()) }, ErrNotSolo5, "0 bytes"},
	{"a file shorter than a header", func(s *testFile) { s.missing = len(s.bytes()) - 63 }, ErrNotSolo5, "63 bytes"},
	{"a file that is not ELF", func(s *testFile) { copy(s.Header.Ident[:], "\x7fELG") }, ErrNotSolo5, "no ELF header"},
	{"a 32-bit file", func(s *testFile) { s.Header.Ident[elf.EI_CLASS] = 1 }, ErrMachine, "class 1"},
	{"a big endian file", func(s *testFile) { s.Header.Ident[elf.EI_DATA] = 2 }, ErrMachine, "data 2"},
	{"another processor", func(s *testFile) { s.Header.Machine = 183 }, ErrMachine, "machine 183"},
	{"another ELF version", func(s *testFile) { s.Header.Version = 2 }, ErrInvalid, "version 2"},
	{"a shared object", func(s *testFile) { s.Header.Type = 3 }, ErrNotSolo5, "type 3"},
	{"another header size", func(s *testFile) { s.Header.Ehsize = 52 }, ErrInvalid, "header of 52"},
	{"another program header size", func(s *testFile) { s.Header.Phentsize = 57 }, ErrInvalid, "headers of 57"},
	{"no program headers", func(s *testFile) { s.Programs = nil }, ErrInvalid, "no program headers"},
	{"too many program headers", func(s *testFile) { s.Programs = append(s.Programs, make([]solo5elf.Program, 57)...) }, ErrInvalid, "65 program headers"},
	{"a program header table beyond the end", func(s *testFile) { s.Header.Phoff = 1 << 20 }, ErrInvalid, "table"},
	{"a program header table at the end of the 64-bit range", func(s *testFile) { s.Header.Phoff = math.MaxUint64 - 7 }, ErrInvalid, "table"},
	{"a program header table cut off", func(s *testFile) { s.Header.Phnum, s.Programs = 9, s.Programs[:1] }, ErrInvalid, "table"},

	{"no ABI note", func(s *testFile) { s.Programs[helloABI].Type = 0 }, ErrNotSolo5, "without Solo5's ABI note"},
	{"an ABI note of another owner", func(s *testFile) { s.Programs[helloABI].Content[12] = 'X' }, ErrNotSolo5, "without Solo5's ABI note"},
	{"an ABI note of another name size", func(s *testFile) { s.Programs[helloABI].Content[0] = 7 }, ErrNotSolo5, "without Solo5's ABI note"},
	{"a short ABI note", func(s *testFile) { s.Programs[helloABI].Content = solo5Note(solo5elf.NoteABI, make([]byte, 15)) }, ErrInvalid, "valid size"},
	{"a long ABI note", func(s *testFile) { s.Programs[helloABI].Content = solo5Note(solo5elf.NoteABI, make([]byte, 33)) }, ErrInvalid, "valid size"},
	{"an ABI note longer than its program header", func(s *testFile) { s.Programs[helloABI].Content[4] = 20 }, ErrInvalid, "valid size"},
	{"an ABI note without a descriptor", func(s *testFile) { s.Programs[helloABI].Content = solo5Note(solo5elf.NoteABI, nil) }, ErrInvalid, "valid size"},
	{"a note shorter than a header", func(s *testFile) { s.Programs[helloForeign].Content = make([]byte, 11) }, ErrInvalid, "valid size"},
	{"a note beyond the end", func(s *testFile) { s.Programs[helloForeign].Off = 1 << 40 }, ErrInvalid, "beyond the file's end"},
	{"a note with a descriptor beyond the end", func(s *testFile) {
		last := &s.Programs[helloManifest]
		last.Filesz = uint64(len(last.Content))
		last.Content = last.Content[:40]
	}, ErrInvalid, "beyond the file's end"},
	{"an unknown target", func(s *testFile) { s.Programs[helloABI].Content = abiNote(7, 2) }, ErrTarget, "7"},
	{"target 0", func(s *testFile) { s.Programs[helloABI].Content = abiNote(0, 2) }, ErrTarget, "0"},
	{"ABI version 0", func(s *testFile) { s.Programs[helloABI].Content = abiNote(TargetSPT, 0) }, ErrABI, "0"},
	{"ABI version 3", func(s *testFile) { s.Programs[helloABI].Content = abiNote(TargetSPT, 3) }, ErrABI, "3"},

	{"an entry point below the load address", func(s *testFile) { s.Header.Entry = 0xfffff }, ErrInvalid, "entry point"},
	{"nothing to load", func(s *testFile) { s.Programs = s.Programs[helloZero+1:] }, ErrInvalid, "no segments to load"},
	{"a writable and executable segment", func(s *testFile) { textProgram(s).Flags |= uint32(elf.PF_W) }, ErrInvalid, "writable and executable"},
	{"writable and executable zeroed memory", func(s *testFile) { s.Programs[helloZero].Flags |= uint32(elf.PF_X) }, ErrInvalid, "writable and executable"},
	{"a segment below the load address", func(s *testFile) { textProgram(s).Vaddr = 0xff000 }, ErrInvalid, "starts at"},
	{"a segment whose alignment starts below the load address", func(s *testFile) { textProgram(s).Align = 0x200000 }, ErrInvalid, "starts at 0x0"},
	{"a start not aligned to a page", func(s *testFile) { dataProgram(s).Vaddr, dataProgram(s).Align = 0x102020, 0x20 }, ErrInvalid, "not aligned to a page"},
	{"an alignment of 0", func(s *testFile) { dataProgram(s).Align = 0 }, ErrInvalid, "power of two"},
	{"an alignment of 0x1800", func(s *testFile) { dataProgram(s).Align = 0x1800 }, ErrInvalid, "power of two"},
	{"more content than memory", func(s *testFile) { dataProgram(s).Memsz = 7 }, ErrInvalid, "does not fit"},
	{"content without memory", func(s *testFile) { dataProgram(s).Memsz = 0 }, ErrInvalid, "does not fit"},
	{"content beyond the end", func(s *testFile) { dataProgram(s).Filesz, dataProgram(s).Memsz = 1<<30, 1<<30 }, ErrInvalid, "beyond the file's end"},
	{"content at the end of the 64-bit range", func(s *testFile) { dataProgram(s).Off = math.MaxUint64 - 3 }, ErrInvalid, "beyond the file's end"},
	{"memory beyond the address space", func(s *testFile) { dataProgram(s).Memsz = math.MaxUint64 - 0x1000 }, ErrInvalid, "address space"},
	{"memory whose rounded end is beyond the address space", func(s *testFile) { dataProgram(s).Memsz = math.MaxUint64 - dataProgram(s).Vaddr }, ErrInvalid, "address space"},
	{"segments in the wrong order", func(s *testFile) { s.Programs[helloText], s.Programs[helloData] = *dataProgram(s), *textProgram(s) }, ErrInvalid, "below the previous segment"},
	{"segments that overlap", func(s *testFile) { textProgram(s).Memsz = 0x2001 }, ErrInvalid, "overlaps"},
	{"segments that share a page", func(s *testFile) { dataProgram(s).Vaddr, dataProgram(s).Align = 0x101000, 0x20 }, ErrInvalid, "overlaps"},
}

func TestRead_RefusesInvalidFiles(t *testing.T) {
	for _, c := range invalidFiles {
		t.Run(c.name, func(t *testing.T) {
			s := helloFile()
			c.change(s)
			_, err := read(s.bytes())
			must.ErrorIs(t, err, c.want)
			must.ErrorContains(t, err, c.says)
		})
	}
}

var invalidManifests = []struct {
	name   string
	change func(*testManifest)
	want   error
	says   string // shows which check refused it
}{
	{"of another version", func(m *testManifest) { m.Version = 2 }, ErrManifest, "version 2"},
	{"without entries", func(m *testManifest) { m.Entries, m.entries = 0, nil }, ErrManifest, "0 entries"},
	{"with too many entries", func(m *testManifest) { m.Entries = 65 }, ErrManifest, "65 entries"},
	{"with the maximum count", func(m *testManifest) { m.Entries = math.MaxUint32 }, ErrManifest, "4294967295 entries"},
	{"shorter than its count", func(m *testManifest) { m.Entries++ }, ErrManifest, "208 bytes"},
	{"longer than its count", func(m *testManifest) { m.extra = []byte{0} }, ErrManifest, "209 bytes"},
	{"above the maximum size", func(m *testManifest) { m.extra = make([]byte, 64*104) }, ErrInvalid, "valid size"},
	{"whose first entry is a device", func(m *testManifest) { m.entries[0].Type = 1 }, ErrManifest, "reserved"},
	{"whose first entry has a name", func(m *testManifest) { m.entries[0].Name[0] = 'x' }, ErrManifest, "reserved"},
	{"whose first entry is attached", func(m *testManifest) { m.entries[0].Attached = 1 }, ErrManifest, "attached"},
	{"with a device attached already", func(m *testManifest) { m.entries[1].Attached = 1 }, ErrManifest, "attached"},
	{"with an unknown device type", func(m *testManifest) { m.entries[1].Type = 3 }, ErrManifest, "type 3"},
	{"with a second reserved entry", func(m *testManifest) { m.entries[1].Type = solo5elf.TypeReserved }, ErrManifest, "type 1073741824"},
	{"with a device without a name", func(m *testManifest) { m.entries[1].Name[0] = 0 }, ErrManifest, "letters and digits"},
	{"with a name of 68 bytes", func(m *testManifest) { copy(m.entries[1].Name[:], longName(68)) }, ErrManifest, "longer than"},
	{"with a slash in a name", func(m *testManifest) { m.entries[1].Name[2] = '/' }, ErrManifest, "letters and digits"},
	{"with a non-ASCII name", func(m *testManifest) { m.entries[1].Name[2] = 0xe4 }, ErrManifest, "letters and digits"},
	{"with a duplicate name", func(m *testManifest) { m.Entries++; m.entries = append(m.entries, m.entries[1]) }, ErrManifest, "duplicate"},
}

func TestRead_RefusesInvalidManifests(t *testing.T) {
	for _, c := range invalidManifests {
		t.Run(c.name, func(t *testing.T) {
			m := testManifest{
				ManifestHeader: solo5elf.ManifestHeader{Version: solo5elf.ManifestVersion, Entries: 2},
				entries: []solo5elf.Entry{
					solo5elf.NewEntry("", solo5elf.TypeReserved), solo5elf.NewEntry("hello", uint32(Block)),
				},
			}
			c.change(&m)
			s := helloFile()
			s.Programs[helloManifest].Content = m.note()
			_, err := read(s.bytes())
			must.ErrorIs(t, err, c.want)
			must.ErrorContains(t, err, c.says)
		})
	}
	t.Run("missing", func(t *testing.T) {
		s := helloFile()
		s.Programs = s.Programs[:helloManifest]
		_, err := read(s.bytes())
		must.ErrorIs(t, err, ErrManifest)
	})
	t.Run("too short for its header", func(t *testing.T) {
		s := helloFile()
		s.Programs[helloManifest].Content = solo5Note(solo5elf.NoteManifest, make([]byte, 11))
		_, err := read(s.bytes())
		must.ErrorIs(t, err, ErrInvalid)
	})
}

// A brokenReader fails at and after an offset.
type brokenReader struct {
	r    io.ReaderAt
	from int64
	err  error
}

func (b brokenReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.from {
		return 0, b.err
	}
	return b.r.ReadAt(p, off)
}

func TestRead_ReturnsTheReadersError(t *testing.T) {
	content := helloFile().bytes()
	gone := errors.New("disk error")
	for _, from := range []int64{0, 64, 0x2010} {
		_, err := Read(brokenReader{bytes.NewReader(content), from, gone}, int64(len(content)))
		must.ErrorIs(t, err, gone)
	}
	_, err := Read(bytes.NewReader(content[:300]), int64(len(content)))
	must.ErrorIs(t, err, io.ErrUnexpectedEOF, must.Sprint("a file that was truncated"))
	_, err = Read(bytes.NewReader(content), -1)
	must.ErrorIs(t, err, ErrNotSolo5)
}

func TestRead_ReadsTheTestGuests(t *testing.T) {
	for file, target := range map[string]Target{"hello.spt": TargetSPT, "hello.hvt": TargetHVT} {
		t.Run(file, func(t *testing.T) {
			f, err := os.Open(testenv.Guest(t, file))
			must.NoError(t, err)
			defer f.Close()
			info, err := f.Stat()
			must.NoError(t, err)
			m, err := Read(f, info.Size())
			must.NoError(t, err)
			must.Eq(t, target, m.Target)
			must.NoError(t, m.Fits(m.MinMemory()))
		})
	}
}
