// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func read(b []byte) (*Info, error) { return Read(bytes.NewReader(b), int64(len(b))) }

func TestRead_TellsWhatAKernelIs(t *testing.T) {
	s := helloSpec(Device{"storage", Block}, Device{"service0", Net})
	m, err := read(s.build())
	must.NoError(t, err)

	must.Eq(t, TargetSPT, m.Target)
	must.Eq(t, 2, m.ABI)
	must.Eq(t, 0x100020, m.Entry)
	must.Eq(t, []Device{{"storage", Block}, {"service0", Net}}, m.Manifest)
	must.Eq(t, 0x105000, m.End)

	const headersEnd = 64 + 8*56
	must.Eq(t, []Segment{
		{
			Offset: headersEnd + 20, FileSize: 0x34, Addr: 0x100000, MemSize: 0x1234,
			Start: 0x100000, End: 0x102000, Read: true, Exec: true,
		},
		{
			Offset: headersEnd + 20 + 0x34, FileSize: 8, Addr: 0x102000, MemSize: 0x1008,
			Start: 0x102000, End: 0x104000, Read: true, Write: true,
		},
		{
			Offset: headersEnd + 20 + 0x34 + 8, Addr: 0x104000, MemSize: 0x58,
			Start: 0x104000, End: 0x105000, Read: true, Write: true,
		},
	}, m.Segments)
}

func TestRead_TakesTheGuestsOf2020(t *testing.T) {
	m, err := read(lklSpec().build())
	must.NoError(t, err)
	must.Eq(t, 1, m.ABI)
	must.Eq(t, FlavorLKL, m.Flavor())
	must.Eq(t, 0x104000, m.Segments[1].End, must.Sprint("an end inside a page is rounded up"))
}

func TestRead_TakesWhatSolo5Takes(t *testing.T) {
	cases := map[string]func(*elfSpec){
		"other target": func(s *elfSpec) { s.headers[helloABI].content = abiNote(TargetHVT, 1) },
		"long ABI note": func(s *elfSpec) {
			s.headers[helloABI].content = solo5Note(noteABI, append(abiNote(2, 1)[20:], 0, 0, 0, 0))
		},
		"bytes after a note":            func(s *elfSpec) { s.headers[helloABI].content = append(abiNote(2, 1), 1, 2, 3) },
		"foreign short note":            func(s *elfSpec) { s.headers[helloABI-1].content = note(0, 7, "", nil) },
		"two ABI notes, the first wins": func(s *elfSpec) { s.headers = append(s.headers, headerSpec{kind: programNote, content: abiNote(9, 9)}) },
		"start inside the first page":   func(s *elfSpec) { s.headers[helloText].addr, s.headers[helloText].memSize = 0x100010, 0x1300 },
		"wide alignment":                func(s *elfSpec) { s.headers[helloZero].addr, s.headers[helloZero].align = 0x200000, 0x200000 },
		"execute only":                  func(s *elfSpec) { s.headers[helloText].flags = flagExec },
		"zeroed memory without rights":  func(s *elfSpec) { s.headers[helloZero].flags = 0 },
		"empty segment out of place":    func(s *elfSpec) { s.headers[helloEmpty].addr, s.headers[helloEmpty].align = 1, 0 },
		"manifest without devices":      func(s *elfSpec) { s.headers[helloManifest].content = manifestNote(manifestOf()) },
		"data after the last segment":   func(s *elfSpec) { s.trailing = 100 },
		"manifest with all 63 devices":  func(s *elfSpec) { s.headers[helloManifest].content = manifestNote(manifestOf(numbered(63)...)) },
		"name of 67 bytes": func(s *elfSpec) {
			s.headers[helloManifest].content = manifestNote(manifestOf(Device{longName(67), Net}))
		},
		"garbage after the name's end":   func(s *elfSpec) { s.headers[helloManifest].content[20+4+8+104+9] = 'x' },
		"64 program headers, none wrong": func(s *elfSpec) { s.headers = append(s.headers, make([]headerSpec, 64-len(s.headers))...) },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			s := helloSpec(Device{"service0", Net})
			change(&s)
			m, err := read(s.build())
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

func TestRead_Refuses(t *testing.T) {
	text := func(s *elfSpec) *headerSpec { return &s.headers[helloText] }
	data := func(s *elfSpec) *headerSpec { return &s.headers[helloData] }
	cases := []struct {
		name   string
		change func(*elfSpec)
		want   error
		says   string // tells that the right check refused it
	}{
		{"an empty file", func(s *elfSpec) { s.missing = len(s.build()) }, ErrNotSolo5, "0 bytes"},
		{"a file shorter than a header", func(s *elfSpec) { s.missing = len(s.build()) - 63 }, ErrNotSolo5, "63 bytes"},
		{"a file that is not ELF", func(s *elfSpec) { s.magic = "\x7fELG" }, ErrNotSolo5, "no ELF file"},
		{"a 32-bit file", func(s *elfSpec) { s.class = 1 }, ErrMachine, "class 1"},
		{"a big endian file", func(s *elfSpec) { s.data = 2 }, ErrMachine, "data 2"},
		{"another processor", func(s *elfSpec) { s.machine = 183 }, ErrMachine, "machine 183"},
		{"another ELF version", func(s *elfSpec) { s.version = 2 }, ErrInvalid, "version 2"},
		{"a shared object", func(s *elfSpec) { s.kind = 3 }, ErrNotSolo5, "type 3"},
		{"another header size", func(s *elfSpec) { s.size = 52 }, ErrInvalid, "header of 52"},
		{"another program header size", func(s *elfSpec) { s.entrySize = 57 }, ErrInvalid, "headers of 57"},
		{"no program headers", func(s *elfSpec) { s.headers = nil }, ErrInvalid, "no program headers"},
		{"too many program headers", func(s *elfSpec) { s.headers = append(s.headers, make([]headerSpec, 57)...) }, ErrInvalid, "65 program headers"},
		{"a program header table beyond the end", func(s *elfSpec) { s.headerOffset = 1 << 20 }, ErrInvalid, "table"},
		{"a program header table at the end of numbers", func(s *elfSpec) { s.headerOffset = math.MaxUint64 - 7 }, ErrInvalid, "table"},
		{"a program header table cut off", func(s *elfSpec) { s.headerCount, s.headers = 9, s.headers[:1] }, ErrInvalid, "table"},

		{"no ABI note", func(s *elfSpec) { s.headers[helloABI].kind = 0 }, ErrNotSolo5, "without Solo5's ABI note"},
		{"an ABI note of another owner", func(s *elfSpec) { s.headers[helloABI].content[12] = 'X' }, ErrNotSolo5, "without Solo5's ABI note"},
		{"an ABI note of another name size", func(s *elfSpec) { s.headers[helloABI].content[0] = 7 }, ErrNotSolo5, "without Solo5's ABI note"},
		{"an ABI note that is too short", func(s *elfSpec) { s.headers[helloABI].content = solo5Note(noteABI, make([]byte, 15)) }, ErrInvalid, "valid size"},
		{"an ABI note that is too long", func(s *elfSpec) { s.headers[helloABI].content = solo5Note(noteABI, make([]byte, 33)) }, ErrInvalid, "valid size"},
		{"an ABI note longer than its header says", func(s *elfSpec) { s.headers[helloABI].content[4] = 20 }, ErrInvalid, "valid size"},
		{"an ABI note without content", func(s *elfSpec) { s.headers[helloABI].content = solo5Note(noteABI, nil) }, ErrInvalid, "valid size"},
		{"a note shorter than a header", func(s *elfSpec) { s.headers[helloABI-1].content = make([]byte, 11) }, ErrInvalid, "valid size"},
		{"a note beyond the end", func(s *elfSpec) { s.headers[helloABI-1].offset = 1 << 40 }, ErrInvalid, "beyond the file's end"},
		{"a note whose content is cut off", func(s *elfSpec) {
			last := &s.headers[helloManifest]
			last.claimsFileSize = uint64(len(last.content))
			last.content = last.content[:40]
		}, ErrInvalid, "beyond the file's end"},
		{"an unknown target", func(s *elfSpec) { s.headers[helloABI].content = abiNote(7, 2) }, ErrTarget, "7"},
		{"no target", func(s *elfSpec) { s.headers[helloABI].content = abiNote(0, 2) }, ErrTarget, "0"},
		{"ABI version 0", func(s *elfSpec) { s.headers[helloABI].content = abiNote(TargetSPT, 0) }, ErrABI, "0"},
		{"ABI version 3", func(s *elfSpec) { s.headers[helloABI].content = abiNote(TargetSPT, 3) }, ErrABI, "3"},

		{"an entry point below the image", func(s *elfSpec) { s.entry = 0xfffff }, ErrInvalid, "entry point"},
		{"nothing to load", func(s *elfSpec) { s.headers = s.headers[helloZero+1:] }, ErrInvalid, "nothing to load"},
		{"a segment to write and execute", func(s *elfSpec) { text(s).flags |= flagWrite }, ErrInvalid, "written and executed"},
		{"zeroed memory to write and execute", func(s *elfSpec) { s.headers[helloZero].flags |= flagExec }, ErrInvalid, "written and executed"},
		{"a segment below the image", func(s *elfSpec) { text(s).addr = 0xff000 }, ErrInvalid, "starts at"},
		{"a segment that its alignment takes below the image", func(s *elfSpec) { text(s).align = 0x200000 }, ErrInvalid, "starts at 0x0"},
		{"a segment that starts inside a page", func(s *elfSpec) { data(s).addr, data(s).align = 0x102020, 0x20 }, ErrInvalid, "inside a page"},
		{"an alignment of none", func(s *elfSpec) { data(s).align = 0 }, ErrInvalid, "power of two"},
		{"an alignment that is no power of two", func(s *elfSpec) { data(s).align = 0x1800 }, ErrInvalid, "power of two"},
		{"more content than memory", func(s *elfSpec) { data(s).memSize = 7 }, ErrInvalid, "does not fit"},
		{"content without memory", func(s *elfSpec) { data(s).memSize = 0 }, ErrInvalid, "does not fit"},
		{"content beyond the end", func(s *elfSpec) { data(s).claimsFileSize, data(s).memSize = 1<<30, 1<<30 }, ErrInvalid, "beyond the file's end"},
		{"content at the end of numbers", func(s *elfSpec) { data(s).offset = math.MaxUint64 - 3 }, ErrInvalid, "beyond the file's end"},
		{"memory beyond the address space", func(s *elfSpec) { data(s).memSize = math.MaxUint64 - 0x1000 }, ErrInvalid, "address space"},
		{"memory whose rounded end is beyond the address space", func(s *elfSpec) { data(s).memSize = math.MaxUint64 - data(s).addr }, ErrInvalid, "address space"},
		{"segments in the wrong order", func(s *elfSpec) { s.headers[helloText], s.headers[helloData] = *data(s), *text(s) }, ErrInvalid, "is below the segment before"},
		{"segments that overlap", func(s *elfSpec) { text(s).memSize = 0x2001 }, ErrInvalid, "overlaps"},
		{"segments that share a page", func(s *elfSpec) { data(s).addr, data(s).align = 0x101000, 0x20 }, ErrInvalid, "overlaps"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := helloSpec()
			c.change(&s)
			_, err := read(s.build())
			must.ErrorIs(t, err, c.want)
			must.ErrorContains(t, err, c.says)
		})
	}
}

func TestRead_RefusesAManifest(t *testing.T) {
	hello := func(kind uint32) [][]byte { return [][]byte{entry("", 1<<30), entry("hello", kind)} }
	cases := []struct {
		name   string
		change func(*manifestSpec)
		want   error
		says   string // tells that the right check refused it
	}{
		{"of another version", func(m *manifestSpec) { m.version = 2 }, ErrManifest, "version 2"},
		{"without entries", func(m *manifestSpec) { m.count, m.entries = 0, nil }, ErrManifest, "0 entries"},
		{"with too many entries", func(m *manifestSpec) { m.count = 65 }, ErrManifest, "65 entries"},
		{"with a count of 32 bits", func(m *manifestSpec) { m.count = math.MaxUint32 }, ErrManifest, "4294967295 entries"},
		{"shorter than its count", func(m *manifestSpec) { m.count++ }, ErrManifest, "208 bytes"},
		{"longer than its count", func(m *manifestSpec) { m.extra = []byte{0} }, ErrManifest, "209 bytes"},
		{"longer than any", func(m *manifestSpec) { m.extra = make([]byte, 64*104) }, ErrInvalid, "valid size"},
		{"whose first entry is a device", func(m *manifestSpec) { m.entries[0] = entry("", 1) }, ErrManifest, "reserved"},
		{"whose first entry has a name", func(m *manifestSpec) { m.entries[0][0] = 'x' }, ErrManifest, "reserved"},
		{"whose first entry is attached", func(m *manifestSpec) { m.entries[0][96] = 1 }, ErrManifest, "attached"},
		{"with a device attached already", func(m *manifestSpec) { m.entries[1][96] = 1 }, ErrManifest, "attached"},
		{"with an unknown device type", func(m *manifestSpec) { m.entries = hello(3) }, ErrManifest, "type 3"},
		{"with a second reserved entry", func(m *manifestSpec) { m.entries = hello(1 << 30) }, ErrManifest, "type 1073741824"},
		{"with a device without a name", func(m *manifestSpec) { m.entries[1][0] = 0 }, ErrManifest, "letters and digits"},
		{"with a name of 68 bytes", func(m *manifestSpec) { copy(m.entries[1], longName(68)) }, ErrManifest, "longer than"},
		{"with a name that is no word", func(m *manifestSpec) { m.entries[1][2] = '/' }, ErrManifest, "letters and digits"},
		{"with a name that is not ASCII", func(m *manifestSpec) { m.entries[1][2] = 0xe4 }, ErrManifest, "letters and digits"},
		{"with a name twice", func(m *manifestSpec) { m.count++; m.entries = append(m.entries, entry("hello", 2)) }, ErrManifest, "twice"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := manifestOf(Device{"hello", Block})
			c.change(&m)
			s := helloSpec()
			s.headers[helloManifest].content = manifestNote(m)
			_, err := read(s.build())
			must.ErrorIs(t, err, c.want)
			must.ErrorContains(t, err, c.says)
		})
	}
	t.Run("that is not there", func(t *testing.T) {
		s := helloSpec()
		s.headers = s.headers[:helloManifest]
		_, err := read(s.build())
		must.ErrorIs(t, err, ErrManifest)
	})
	t.Run("too short for its header", func(t *testing.T) {
		s := helloSpec()
		s.headers[helloManifest].content = solo5Note(noteManifest, make([]byte, 11))
		_, err := read(s.build())
		must.ErrorIs(t, err, ErrInvalid)
	})
}

// A brokenReader fails from an offset on.
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

func TestRead_PassesOnTheReadersError(t *testing.T) {
	content := helloSpec().build()
	gone := errors.New("the disk is gone")
	for _, from := range []int64{0, 64, 600} {
		_, err := Read(brokenReader{bytes.NewReader(content), from, gone}, int64(len(content)))
		must.ErrorIs(t, err, gone)
	}
	_, err := Read(bytes.NewReader(content[:300]), int64(len(content)))
	must.ErrorIs(t, err, io.ErrUnexpectedEOF, must.Sprint("a file that got shorter"))
	_, err = Read(bytes.NewReader(content), -1)
	must.ErrorIs(t, err, ErrNotSolo5)
}

func TestRead_OurOwnGuests(t *testing.T) {
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
