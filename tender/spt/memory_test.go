// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package spt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// dump writes a part of the guest's memory to the console.
func dump(address, size uint64) asm {
	var a asm
	a.write(address, size)
	a.exit(0)
	return a
}

func TestGuest_StartsWithClearRegisters(t *testing.T) {
	const registers = dataBase + 0x100
	var code asm
	code.bytes(0x9c)       // pushfq
	code.bytes(0x50)       // push %rax
	code.bytes(0x48, 0xb8) // movabs $registers,%rax
	code = binary.LittleEndian.AppendUint64(code, registers)
	for i, store := range [][]byte{
		{0x48, 0x89, 0x98}, {0x48, 0x89, 0x88}, {0x48, 0x89, 0x90}, {0x48, 0x89, 0xb0}, // rbx rcx rdx rsi
		{0x48, 0x89, 0xa8}, {0x4c, 0x89, 0x80}, {0x4c, 0x89, 0x88}, {0x4c, 0x89, 0x90}, // rbp r8 r9 r10
		{0x4c, 0x89, 0x98}, {0x4c, 0x89, 0xa0}, {0x4c, 0x89, 0xa8}, {0x4c, 0x89, 0xb0}, // r11 r12 r13 r14
		{0x4c, 0x89, 0xb8}, {0x48, 0x89, 0xb8}, {0x48, 0x89, 0xa0}, // r15 rdi rsp
	} {
		code.bytes(store...) // mov %reg,8*i(%rax)
		code = binary.LittleEndian.AppendUint32(code, uint32(8*i))
	}
	code.bytes(0x48, 0x0f, 0xae, 0x80) // fxsave64 0x100(%rax)
	code = binary.LittleEndian.AppendUint32(code, 0x100)
	code.write(registers, 15*8)
	code.write(testMemory-8-16, 16) // flags and rax, as pushed
	code.write(registers+0x100, 512)
	code.exit(0)

	exit, output := run(t, guestOf(t, code))
	must.Eq(t, tender.Exit{}, exit)
	must.Len(t, 15*8+16+512, output)
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(output[8*i:]) }
	for i := range 13 {
		must.Zero(t, word(i), must.Sprintf("register %d of rbx rcx rdx rsi rbp r8 to r15", i))
	}
	must.Eq(t, bootBase, word(13))                   // rdi
	must.Eq(t, testMemory-8-16, word(14))            // rsp, after the pushes
	must.Zero(t, word(15))                           // rax
	const statusFlags, direction = 0x8d5, 1 << 10    // CF PF AF ZF SF OF
	must.Zero(t, word(16)&^statusFlags&direction)    // DF
	must.Zero(t, word(16)&(statusFlags&^(0x40|4|1))) // ZF and PF may be set by a comparison
	fx := output[15*8+16:]
	must.Eq(t, 0x1f80, binary.LittleEndian.Uint32(fx[24:])) // MXCSR after reset
	must.Eq(t, make([]byte, 16*16), fx[160:160+16*16])      // xmm0 to xmm15
}

func TestGuest_GetsItsBootInformation(t *testing.T) {
	for undeclared := range 3 {
		t.Run(fmt.Sprint(undeclared, " devices undeclared"), func(t *testing.T) {
			g := guestOf(t, dump(guestBase, textBase-guestBase))
			socket(t, g, "tap")
			disk(t, g, tender.Device{Name: "rootfs", Capacity: 1 << 20, BlockSize: 4096})
			if undeclared > 0 {
				undeclare(g, undeclared)
			}
			checkBootInformation(t, g)
		})
	}
}

// checkBootInformation runs a guest with the devices tap and rootfs that writes its low
// memory to the console.
func checkBootInformation(t *testing.T, g *tender.Guest) {
	t.Helper()
	g.CommandLine = "FOO=bar -- one 'two three'"
	_, memory := run(t, g)
	must.Len(t, textBase-guestBase, memory)

	le := binary.LittleEndian
	at := func(address uint64) []byte { return memory[address-guestBase:] }
	info := at(bootBase)
	must.Eq(t, testMemory, le.Uint64(info))
	must.Eq(t, g.Info.End, le.Uint64(info[8:]))
	commandLine, manifest := at(le.Uint64(info[16:])), at(le.Uint64(info[24:]))
	must.Eq(t, fdEpoll, le.Uint32(info[32:]))
	must.Eq(t, fdTimer, le.Uint32(info[36:]))
	must.Eq(t, g.CommandLine+"\x00", string(commandLine[:len(g.CommandLine)+1]))
	must.Eq(t, 1, le.Uint32(manifest))
	must.Eq(t, 3, le.Uint32(manifest[4:]))
	entry := func(i int) []byte { return manifest[8+104*i:][:104] }
	must.Eq(t, 1<<30, le.Uint32(entry(0)[68:]))
	must.Eq(t, "tap\x00", string(entry(1)[:4]))
	must.Eq(t, uint32(unikernel.Net), le.Uint32(entry(1)[68:]))
	must.Eq(t, []byte{2, 0, 0, 0, 0, 1, 0xdc, 0x05}, entry(1)[72:80])
	must.Eq(t, fdDevice, le.Uint32(entry(1)[88:]))
	must.Eq(t, 1, entry(1)[96])
	must.Eq(t, "rootfs\x00", string(entry(2)[:7]))
	must.Eq(t, uint32(unikernel.Block), le.Uint32(entry(2)[68:]))
	must.Eq(t, 1<<20, le.Uint64(entry(2)[72:]))
	must.Eq(t, 4096, le.Uint16(entry(2)[80:]))
	must.Eq(t, fdDevice+1, le.Uint32(entry(2)[88:]))
	must.Eq(t, 1, entry(2)[96])
}

// withCommandLineFile gives a guest a long command line.
func withCommandLineFile(t *testing.T, g *tender.Guest, size int) string {
	t.Helper()
	line := strings.Repeat("0123456789 ", size)[:size]
	f, err := memfd.New("line", []byte(line))
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, f.Close()) })
	g.Info.Features |= unikernel.FeatureCommandLine
	g.CommandLineFile, g.CommandLineSize = f, uint64(size)
	return line
}

func TestGuest_GetsALongCommandLineAtTheEndOfMemory(t *testing.T) {
	for _, size := range []int{1, pageSize - 1, pageSize, 1 << 20} {
		room := uint64(size/pageSize+1) * pageSize
		end := testMemory - room
		code := asm{}
		code.write(bootBase, 40)
		code.bytes(0x50)        // push %rax
		code.write(end-8-8, 16) // the stack ends below the command line
		code.write(end, room)
		code.exit(0)
		g := guestOf(t, code)
		line := withCommandLineFile(t, g, size)
		exit, output := run(t, g)
		must.Eq(t, tender.Exit{}, exit)
		must.Eq(t, end, binary.LittleEndian.Uint64(output))
		must.Eq(t, end, binary.LittleEndian.Uint64(output[16:]))
		must.Eq(t, 40, binary.LittleEndian.Uint64(output[40:])) // the result of the first write
		must.Eq(t, line, string(output[56:56+size]))
		must.Eq(t, make([]byte, int(room)-size), output[56+size:])
	}
}

func TestGuest_SeesNoDataOfTheTender(t *testing.T) {
	g := guestOf(t, dump(guestBase, textBase-guestBase))
	t.Setenv("TENDER_SECRET", "environment")
	_, memory := run(t, g)
	must.Len(t, textBase-guestBase, memory)
	boot, err := bootInfo(g, nil)
	must.NoError(t, err)
	end := bootBase - guestBase + len(boot)
	must.Eq(t, make([]byte, bootBase-guestBase), memory[:bootBase-guestBase])
	must.Eq(t, make([]byte, len(memory)-end), memory[end:])
}

func TestGuest_SegmentsHaveTheContentOfTheFile(t *testing.T) {
	pattern := bytes.Repeat([]byte("0123456789abcdef!"), 3000) // some pages
	for name, c := range map[string]struct {
		shift         uint64 // of the address from the page
		offset        uint64 // of the content in the file
		size, memSize uint64
		write         bool
	}{
		"mapped, whole pages":        {0, 0x1000, 0x3000, 0x3000, false},
		"mapped, with a tail":        {0, 0x1000, 0x3001, 0x3001, false},
		"mapped, with a head":        {0x123, 0x1123, 0x3000, 0x3000, false},
		"mapped, with bss":           {0, 0x1000, 0x2010, 0x4020, false},
		"mapped, bss of whole pages": {0, 0x1000, 0x2000, 0x4000, false},
		"read, less than a page":     {0x10, 0x1010, 0x20, 0x20, false},
		"read, offset not congruent": {0, 0x1001, 0x3000, 0x3000, false},
		"read, data":                 {0, 0x1000, 0x3001, 0x5000, true},
	} {
		t.Run(name, func(t *testing.T) {
			start := uint64(rodataBase)
			g := guestOf(t, nil)
			s := unikernel.Segment{
				Offset: c.offset, FileSize: c.size, Addr: start + c.shift, MemSize: c.memSize,
				Start: start, End: roundUp(start + c.shift + c.memSize), Read: true, Write: c.write,
			}
			code := dump(s.Start, s.End-s.Start)
			file := append(make([]byte, 0x1000), pattern...)
			g.Info.Segments = []unikernel.Segment{{
				Offset: 0, FileSize: uint64(len(code)), Addr: textBase, MemSize: uint64(len(code)),
				Start: textBase, End: textBase + pageSize, Read: true, Exec: true,
			}, s}
			copy(file, code)
			g.Kernel = openKernel(t, filepath.Join(t.TempDir(), "file"), file)

			exit, memory := run(t, g)
			must.Eq(t, tender.Exit{}, exit)
			want := make([]byte, s.End-s.Start)
			copy(want[c.shift:], file[c.offset:c.offset+c.size])
			must.Eq(t, want, memory)
		})
	}
}

func TestGuest_ExecutesItsHeapIfAllowed(t *testing.T) {
	const heap = dataBase + 2*pageSize
	var code asm
	for i, b := range []byte{0x31, 0xff, 0xb8, unix.SYS_EXIT_GROUP, 0, 0, 0, 0x0f, 0x05} { // exit_group(0)
		code.set(rax, heap+uint64(i))
		code.bytes(0xc6, 0x00, b) // movb $b,(%rax)
	}
	code.jump(heap)
	g := guestOf(t, code)
	exit, _ := run(t, g)
	must.Eq(t, tender.Exit{Signal: syscall.SIGSEGV}, exit)
	g.ExecHeap = true
	exit, _ = run(t, g)
	must.Eq(t, tender.Exit{}, exit)
}

func TestTable_CopiesCodeThatCannotBeMapped(t *testing.T) {
	var mapped, copied table
	text := unikernel.Segment{
		FileSize: 3 * pageSize, Addr: textBase, MemSize: 3 * pageSize,
		Start: textBase, End: textBase + 3*pageSize, Read: true, Exec: true,
	}
	mapped.loadSegments([]unikernel.Segment{text}, 9, true)
	copied.loadSegments([]unikernel.Segment{text}, 9, false)
	must.True(t, strings.HasPrefix(mapped.steps[0].name, "map "))
	must.True(t, strings.HasPrefix(copied.steps[0].name, "read "))
}
