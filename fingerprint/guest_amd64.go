// SPDX-License-Identifier: MPL-2.0

package fingerprint

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// probeStatus is the exit status of the probe's guest. No other part of a start exits
// with it.
const probeStatus = 42

// probeCode is the whole guest: it calls exit_group(probeStatus), one of the nine system
// calls that the tender allows.
var probeCode = []byte{
	0xb8, 231, 0, 0, 0, // mov eax, exit_group
	0xbf, probeStatus, 0, 0, 0, // mov edi, probeStatus
	0x0f, 0x05, // syscall
	0x0f, 0x0b, // ud2
}

// probeMemory is the guest's memory in bytes: 1 MiB below its load address and 1 MiB
// above.
const probeMemory = 2 << 20

// runGuest runs a guest of a few instructions in the spt tender. It succeeds only if the
// launcher, the memory map and the seccomp filter work.
func runGuest(ctx context.Context) error {
	kernel, err := memoryFile("lkl-probe", probeELF())
	if err != nil {
		return err
	}
	defer kernel.Close()
	image, err := unikernel.Read(kernel, int64(len(probeELF())))
	if err != nil {
		return fmt.Errorf("read the probe: %w", err)
	}
	console, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open the probe's console: %w", err)
	}
	defer console.Close()

	p, err := spt.Start(&tender.Guest{
		Kernel: kernel, Image: image, Memory: probeMemory, Console: console,
	}, tender.Jail{})
	if err != nil {
		return fmt.Errorf("start a guest: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(p.Pid, syscall.SIGKILL) })
	defer stop()
	exit, err := p.Wait()
	switch {
	case err != nil:
		return fmt.Errorf("wait for the guest: %w", err)
	case ctx.Err() != nil:
		return fmt.Errorf("the guest did not exit within %v", probeTimeout)
	case exit != tender.Exit{Code: probeStatus}:
		return fmt.Errorf("unexpected exit of the guest: %s", exit.Reason())
	}
	return nil
}

func memoryFile(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(content); err != nil {
		f.Close()
		return nil, fmt.Errorf("write a file in memory: %w", err)
	}
	return f, nil
}

// The layout of the probe's file. Its numbers are those of ELF (elf(5)) and of
// Solo5 0.12 (elf_abi.h, mft_abi.h).
const (
	elfHeader   = 64
	programSize = 56
	interpAt    = elfHeader + 4*programSize
	abiAt       = 312 // after the interpreter's name, 8-aligned
	abiSize     = 20 + 16
	manifestAt  = 352
	manifestLen = 24 + 8 + 104 // header and padding, version and count, entry 0
	codeAt      = unikernel.PageSize

	noteABI      = 0x31494241 // "ABI1"
	noteManifest = 0x3154464d // "MFT1"
	reserved     = 1 << 30    // the type of the manifest's first entry
)

// probeELF is a Solo5 spt executable, ABI 2, with an empty manifest.
func probeELF() []byte {
	const interp = "/nonexistent/solo5/\x00"
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			_ = binary.Write(&b, binary.LittleEndian, v) // a Buffer takes everything
		}
	}
	pad := func(to int) { b.Write(make([]byte, to-b.Len())) }
	segment := func(kind, flags uint32, at, addr, size, align uint64) {
		put(kind, flags, at, addr, addr, size, size, align)
	}

	b.WriteString("\x7fELF\x02\x01\x01") // 64-bit, little endian, version 1
	pad(16)
	put(uint16(2), uint16(62), uint32(1)) // ET_EXEC, EM_X86_64
	put(uint64(unikernel.MinLoadAddress), uint64(elfHeader), uint64(0), uint32(0))
	put(uint16(elfHeader), uint16(programSize), uint16(4), uint16(0), uint16(0), uint16(0))

	segment(3, 4, interpAt, 0, uint64(len(interp)), 1)
	segment(4, 4, abiAt, 0, abiSize, 4)
	segment(4, 4, manifestAt, 0, manifestLen, 8)
	segment(1, 5, codeAt, unikernel.MinLoadAddress, uint64(len(probeCode)), unikernel.PageSize)
	b.WriteString(interp)

	pad(abiAt)
	put(uint32(6), uint32(16), uint32(noteABI), []byte("Solo5\x00\x00\x00"))
	put(uint32(unikernel.TargetSPT), uint32(2), uint64(0))

	pad(manifestAt)
	put(uint32(6), uint32(manifestLen-20), uint32(noteManifest), []byte("Solo5\x00\x00\x00"))
	pad(manifestAt + 24)
	put(uint32(1), uint32(1)) // version, entries
	pad(manifestAt + 32 + 68) // the empty name
	put(uint32(reserved))

	pad(codeAt)
	b.Write(probeCode)
	return b.Bytes()
}
