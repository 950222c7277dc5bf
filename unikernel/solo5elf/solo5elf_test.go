// SPDX-License-Identifier: MPL-2.0

package solo5elf_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

func TestSizes_AreThoseOfTheStructures(t *testing.T) {
	must.Eq(t, solo5elf.HeaderSize, binary.Size(elf.Header64{}))
	must.Eq(t, solo5elf.ProgramHeaderSize, binary.Size(elf.Prog64{}))
	must.Eq(t, solo5elf.NoteHeaderSize, binary.Size(solo5elf.NoteHeader{}))
	must.Eq(t, solo5elf.ABISize, binary.Size(solo5elf.ABI{}))
	must.Eq(t, solo5elf.ManifestHeaderSize, binary.Size(solo5elf.ManifestHeader{}))
	must.Eq(t, solo5elf.EntrySize, binary.Size(solo5elf.Entry{}))
}

// The offsets are those of struct mft_entry of Solo5's mft_abi.h on x86-64.
func TestEntry_HasTheLayoutOfSolo5(t *testing.T) {
	e := solo5elf.NewEntry("tap", 2)
	e.SetNet([6]byte{2, 3, 4, 5, 6, 7}, 1500)
	e.HostFD, e.Attached = 9, 1
	want := make([]byte, 104)
	copy(want, "tap")
	want[68] = 2
	copy(want[72:], []byte{2, 3, 4, 5, 6, 7, 0xdc, 0x05})
	want[88], want[96] = 9, 1
	got, err := binary.Append(nil, binary.LittleEndian, e)
	must.NoError(t, err)
	must.Eq(t, want, got)

	e = solo5elf.NewEntry("", 1)
	e.SetBlock(0x1122334455667788, 512)
	got, err = binary.Append(nil, binary.LittleEndian, e)
	must.NoError(t, err)
	must.Eq(t, []byte{0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 2}, got[72:82])
}

// debug/elf reads the file that File writes.
func TestFile_IsAnExecutable(t *testing.T) {
	code := []byte("code")
	file := solo5elf.New(solo5elf.ABI{Target: 2, Version: 2}, 0x100020,
		[]solo5elf.Entry{solo5elf.NewEntry("tap", 2)},
		solo5elf.Load(0x100020, elf.PF_R|elf.PF_X, code))
	f, err := elf.NewFile(bytes.NewReader(file.Bytes()))
	must.NoError(t, err)
	must.Eq(t, elf.ET_EXEC, f.Type)
	must.Eq(t, elf.EM_X86_64, f.Machine)
	must.Eq(t, 0x100020, f.Entry)

	must.Len(t, 4, f.Progs)
	must.Eq(t, elf.PT_INTERP, f.Progs[0].Type)
	must.Eq(t, elf.PT_NOTE, f.Progs[1].Type)
	must.Eq(t, 12+8+16, f.Progs[1].Filesz)
	must.Eq(t, elf.PT_NOTE, f.Progs[2].Type)
	must.Eq(t, 12+8+4+8+2*104, f.Progs[2].Filesz)
	load := f.Progs[3]
	must.Eq(t, 0x20, load.Off%0x1000, must.Sprint("the content can be mapped at its address"))
	content := make([]byte, len(code))
	_, err = load.ReadAt(content, 0)
	must.NoError(t, err)
	must.Eq(t, code, content)
}
