// SPDX-License-Identifier: MPL-2.0

package client_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

// hog is the code of a guest that writes to every page of its memory and then
// exits with status 0.
var hog = []byte{
	0x48, 0x8b, 0x0f, //                   mov (%rdi),%rcx    size of memory, first in the boot info
	0xb8, 0x00, 0x00, 0x20, 0x00, //       mov $0x200000,%eax
	0x48, 0x39, 0xc8, //                1: cmp %rcx,%rax
	0x73, 0x0b, //                         jae 2f
	0xc6, 0x00, 0x01, //                   movb $1,(%rax)
	0x48, 0x05, 0x00, 0x10, 0x00, 0x00, // add $0x1000,%rax
	0xeb, 0xf0, //                         jmp 1b
	0x31, 0xff, //                      2: xor %edi,%edi
	0xb8, 0xe7, 0x00, 0x00, 0x00, //       mov $231,%eax      exit_group
	0x0f, 0x05, //                         syscall
}

// hogKernel writes a unikernel of spt with that code and without devices.
func hogKernel(t testing.TB) string {
	t.Helper()
	const address, codeOffset, abiOffset, manifestOffset = 0x100000, 0x1000, 0x200, 0x300
	le := binary.LittleEndian
	note := func(kind uint32, content []byte) []byte {
		n := le.AppendUint32(nil, 6)
		n = le.AppendUint32(n, uint32(len(content)))
		n = le.AppendUint32(n, kind)
		return append(append(n, "Solo5\x00\x00\x00"...), content...)
	}
	target := make([]byte, 16)
	le.PutUint32(target[0:], 2) // spt
	le.PutUint32(target[4:], 2) // ABI 2
	abi := note(0x31494241, target)
	devices := make([]byte, 4+8+104)      // padding, header, entry 0
	le.PutUint32(devices[4:], 1)          // version
	le.PutUint32(devices[8:], 1)          // entries
	le.PutUint32(devices[4+8+68:], 1<<30) // the type of entry 0: reserved
	manifest := note(0x3154464d, devices)

	file := make([]byte, codeOffset, codeOffset+len(hog))
	put := func(at int, v any) {
		_, err := binary.Encode(file[at:], le, v)
		must.NoError(t, err)
	}
	put(0, struct {
		Ident                                [16]byte
		Type, Machine                        uint16
		Version                              uint32
		Entry, Programs, Sections            uint64
		Flags                                uint32
		Size, ProgramSize, ProgramCount      uint16
		SectionSize, SectionCount, NameIndex uint16
	}{
		[16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, 2, 62, 1, address, 64, 0, 0, 64, 56, 3, 64, 0, 0,
	})
	for i, p := range []struct {
		Type, Flags                                 uint32
		Offset, Virtual, Physical, File, Mem, Align uint64
	}{
		{1, 5, codeOffset, address, address, uint64(len(hog)), uint64(len(hog)), 0x1000},
		{4, 4, abiOffset, 0, 0, uint64(len(abi)), uint64(len(abi)), 4},
		{4, 4, manifestOffset, 0, 0, uint64(len(manifest)), uint64(len(manifest)), 4},
	} {
		put(64+56*i, p)
	}
	copy(file[abiOffset:], abi)
	copy(file[manifestOffset:], manifest)
	path := filepath.Join(t.TempDir(), "hog.spt")
	must.NoError(t, os.WriteFile(path, append(file, hog...), 0o644))
	return path
}

func TestHog_UsesItsMemory(t *testing.T) {
	exit := wait(t, kernel(t, hogKernel(t), "").start(t))
	must.Eq(t, "exited with 0", exit.Reason)
}
