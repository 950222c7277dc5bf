// SPDX-License-Identifier: MPL-2.0

package client_test

import (
	"debug/elf"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
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
	file := solo5elf.New(solo5elf.ABI{Target: uint32(unikernel.TargetSPT), Version: 2}, unikernel.MinLoadAddress, nil,
		solo5elf.Load(unikernel.MinLoadAddress, elf.PF_R|elf.PF_X, hog))
	path := filepath.Join(t.TempDir(), "hog.spt")
	must.NoError(t, os.WriteFile(path, file.Bytes(), 0o644))
	return path
}

func TestHog_ExitsAfterWritingItsMemory(t *testing.T) {
	exit := waitExit(t, newTaskWithKernel(t, hogKernel(t), "").start(t))
	must.Eq(t, "exited with 0", exit.Reason)
}
