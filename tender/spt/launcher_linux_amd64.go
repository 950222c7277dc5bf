// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// parameters follow the code, eight-byte words in this order (testdata/launcher.S).
type parameters struct {
	Status     uint64 // descriptor that failures are written to
	Wipe       uint64 // address and number of words to clear
	Words      uint64
	Stack      uint64 // what the guest begins with
	BootInfo   uint64
	EntryPoint uint64
}

const (
	elfHeaderSize     = 64
	programHeaderSize = 56
	codeOffset        = elfHeaderSize + 2*programHeaderSize
)

// launcherELF is the file that is exec'd: one page, loaded at launcherBase to
// be read and executed, of headers, code, parameters and the first table.
func launcherELF(p parameters, first []byte) ([]byte, error) {
	body := new(bytes.Buffer)
	body.Write(code)
	body.Write(make([]byte, -len(code)&7))
	if err := binary.Write(body, binary.LittleEndian, p); err != nil {
		return nil, err
	}
	body.Write(first)

	file := new(bytes.Buffer)
	size := uint64(codeOffset + body.Len())
	for _, header := range []any{
		elf.Header64{
			Ident: [elf.EI_NIDENT]byte{
				0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT),
			},
			Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
			Entry: launcherBase + codeOffset,
			Phoff: elfHeaderSize, Ehsize: elfHeaderSize, Phentsize: programHeaderSize, Phnum: 2,
		},
		elf.Prog64{
			Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
			Vaddr: launcherBase, Filesz: size, Memsz: size, Align: pageSize,
		},
		// Without it older kernels make everything that is read executable.
		elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W)},
	} {
		if err := binary.Write(file, binary.LittleEndian, header); err != nil {
			return nil, err
		}
	}
	file.Write(body.Bytes())
	return file.Bytes(), nil
}
