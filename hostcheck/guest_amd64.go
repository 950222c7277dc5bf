// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"syscall"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
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
	file := probeELF()
	kernel, err := memfd.New("lkl-probe", file)
	if err != nil {
		return err
	}
	defer kernel.Close()
	image, err := unikernel.Read(kernel, int64(len(file)))
	if err != nil {
		return fmt.Errorf("read the probe: %w", err)
	}
	console, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open the probe's console: %w", err)
	}
	defer console.Close()

	p, err := spt.Start(&tender.Guest{
		Kernel: kernel, Info: image, Memory: probeMemory, Console: console,
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

// probeELF is a Solo5 spt executable of ABI 2 without devices.
func probeELF() []byte {
	return solo5elf.New(solo5elf.ABI{Target: uint32(unikernel.TargetSPT), Version: 2}, unikernel.MinLoadAddress, nil,
		solo5elf.Load(unikernel.MinLoadAddress, elf.PF_R|elf.PF_X, probeCode)).Bytes()
}
