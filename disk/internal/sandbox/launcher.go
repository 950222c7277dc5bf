// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package sandbox

import (
	"bytes"
	"debug/elf"
	"encoding/binary"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

// The launcher is a program of a few instructions in memory. The plugin forks and executes
// it; it makes the system calls of a plan, the last of which executes the confined
// program. A Go program cannot do this itself: between fork and exec it supports only the
// settings of syscall.SysProcAttr, which lack resource limits, Landlock and seccomp.

const (
	// launcherAddress is the lowest address that Linux permits by default
	// (vm.mmap_min_addr).
	launcherAddress = 0x10000
	codeOffset      = solo5elf.HeaderSize + 2*solo5elf.ProgramHeaderSize
	parametersSize  = 16
	dataAddress     = launcherAddress + codeOffset + 0x58 + parametersSize // len(code) is 0x58
	// reportSize is the size of the report of a step that failed: its index and its
	// result.
	reportSize = 16
)

// code is the launcher. Two parameters follow it: the address of the table of steps, and the
// descriptor of the status pipe. A step in the table has eight words: the number of the
// system call, its arguments, and the expected result.
var code = [0x58]byte{
	// _start:
	0x48, 0x8b, 0x1d, 0x51, 0x00, 0x00, 0x00, // 00 mov    table(%rip),%rbx
	0x31, 0xed, // 07 xor    %ebp,%ebp
	// step:
	0x48, 0x8b, 0x03, // 09 mov    (%rbx),%rax
	0x48, 0x8b, 0x7b, 0x08, // 0c mov    8(%rbx),%rdi
	0x48, 0x8b, 0x73, 0x10, // 10 mov    16(%rbx),%rsi
	0x48, 0x8b, 0x53, 0x18, // 14 mov    24(%rbx),%rdx
	0x4c, 0x8b, 0x53, 0x20, // 18 mov    32(%rbx),%r10
	0x4c, 0x8b, 0x43, 0x28, // 1c mov    40(%rbx),%r8
	0x4c, 0x8b, 0x4b, 0x30, // 20 mov    48(%rbx),%r9
	0x0f, 0x05, // 24 syscall
	0x48, 0x3b, 0x43, 0x38, // 26 cmp    56(%rbx),%rax
	0x75, 0x08, // 2a jne    failed
	0xff, 0xc5, // 2c inc    %ebp
	0x48, 0x83, 0xc3, 0x40, // 2e add    $64,%rbx
	0xeb, 0xd5, // 32 jmp    step
	// failed:
	0x50,                                     // 34 push   %rax
	0x55,                                     // 35 push   %rbp
	0x48, 0x8b, 0x3d, 0x23, 0x00, 0x00, 0x00, // 36 mov    status(%rip),%rdi
	0x48, 0x89, 0xe6, // 3d mov    %rsp,%rsi
	0xba, 0x10, 0x00, 0x00, 0x00, // 40 mov    $16,%edx
	0xb8, 0x01, 0x00, 0x00, 0x00, // 45 mov    $1,%eax (write)
	0x0f, 0x05, // 4a syscall
	0xbf, 0x7f, 0x00, 0x00, 0x00, // 4c mov    $127,%edi
	0xb8, 0xe7, 0x00, 0x00, 0x00, // 51 mov    $231,%eax (exit_group)
	0x0f, 0x05, // 56 syscall
}

// encode returns the launcher's executable file: headers, code, parameters, data and table.
func (p *plan) encode() []byte {
	file := new(bytes.Buffer)
	size := uint64(codeOffset + len(code) + parametersSize + len(p.data) + len(p.steps)*64)
	header := solo5elf.NewHeader(launcherAddress + codeOffset)
	header.Phnum = 2
	write := func(v any) { _ = binary.Write(file, binary.LittleEndian, v) } // a Buffer never fails
	write(header)
	write(elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
		Vaddr: launcherAddress, Filesz: size, Memsz: size, Align: 4096,
	})
	// Without PT_GNU_STACK, Linux before 5.8 makes all readable memory executable.
	write(elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W)})
	write(code)
	write([2]uint64{dataAddress + uint64(len(p.data)), p.statusFD})
	file.Write(p.data)
	for _, s := range p.steps {
		write(s.number)
		write(s.args)
		write(s.want)
	}
	return file.Bytes()
}
