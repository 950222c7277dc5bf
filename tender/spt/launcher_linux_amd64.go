// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

// parameters follow the launcher's code (testdata/launcher.S).
type parameters struct {
	StatusFD     uint64 // the launcher reports failures here
	ClearAddress uint64 // memory to clear before the guest begins
	ClearWords   uint64 // size of that memory in words of 8 bytes
	Stack        uint64 // the guest's first stack pointer
	BootInfo     uint64 // the guest's first argument
	EntryPoint   uint64
	Handler      uint64 // the guest's handler of SIGVTALRM, or 0
}

const codeOffset = solo5elf.HeaderSize + 2*solo5elf.ProgramHeaderSize

// launcherELF returns the file to execute. It is one page, which exec maps readable
// and executable at launcherBase: headers, code, parameters and the first table.
func launcherELF(p parameters, firstTable []byte) ([]byte, error) {
	body := new(bytes.Buffer)
	body.Write(code)
	body.Write(make([]byte, -len(code)&7))
	if err := binary.Write(body, binary.LittleEndian, p); err != nil {
		return nil, err
	}
	body.Write(firstTable)

	header := solo5elf.NewHeader(launcherBase + codeOffset)
	header.Phnum = 2
	size := uint64(codeOffset + body.Len())
	file := new(bytes.Buffer)
	for _, v := range []any{
		header,
		elf.Prog64{
			Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
			Vaddr: launcherBase, Filesz: size, Memsz: size, Align: pageSize,
		},
		// Without PT_GNU_STACK, Linux before 5.8 makes all readable memory
		// executable (READ_IMPLIES_EXEC).
		elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W)},
	} {
		if err := binary.Write(file, binary.LittleEndian, v); err != nil {
			return nil, err
		}
	}
	file.Write(body.Bytes())
	return file.Bytes(), nil
}
