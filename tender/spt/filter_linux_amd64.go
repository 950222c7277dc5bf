// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

const (
	// archSetFS is ARCH_SET_FS (asm/prctl.h).
	archSetFS = 0x1002

	allow = unix.SECCOMP_RET_ALLOW
	kill  = unix.SECCOMP_RET_KILL_PROCESS
)

// filter returns the seccomp filter of a guest. It allows the nine system calls
// of Solo5's spt bindings, and fdatasync for disks that the guest may flush. Any
// other call kills the process, except two that recent kernels exempt from all
// filters; see docs/tender.md.
//
// The filter compares all 64 bits of the arguments that select the object of a
// call. It does not check pointers: the process maps only the guest's memory.
func filter(devices []tender.Device, outputs []uint32) (bpf.Program, error) {
	var p bpf.Program
	p.Load(bpf.Arch)
	p.ReturnIf(bpf.NotEqual(unix.AUDIT_ARCH_X86_64), kill)
	p.Load(bpf.Number)
	p.ReturnIf(bpf.AtLeast(bpf.X32Bit), kill)
	allowNet(&p, devices, outputs)
	allowWait(&p)
	allowCall(&p, unix.SYS_TIMERFD_SETTIME, fdTimer)
	allowCall(&p, unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_REALTIME)
	allowCall(&p, unix.SYS_ARCH_PRCTL, archSetFS)
	p.ReturnIf(bpf.Equal(unix.SYS_EXIT_GROUP), allow)
	allowBlockOrKill(&p, devices)
	if len(p) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("system call filter of %d instructions, more than %d: attach fewer devices",
			len(p), unix.BPF_MAXINSNS)
	}
	return p, nil
}

// allowCall allows a system call whose first argument is one of the values.
func allowCall(p *bpf.Program, number uint32, values ...uint32) {
	p.When(bpf.Equal(number), func(p *bpf.Program) {
		load32(p, 0)
		for _, v := range values {
			p.ReturnIf(bpf.Equal(v), allow)
		}
		p.Return(kill)
	})
}

// load32 loads the lower half of an argument, and kills if the upper half is not
// zero.
func load32(p *bpf.Program, arg int) {
	p.Load(bpf.High(arg))
	p.ReturnIf(bpf.NotEqual(0), kill)
	p.Load(bpf.Low(arg))
}

// allowWait allows waiting on the epoll set without a signal mask (argument 4). Solo5's
// bindings pass none. With a mask, a guest could block SIGTERM.
func allowWait(p *bpf.Program) {
	p.When(bpf.Equal(unix.SYS_EPOLL_PWAIT), func(p *bpf.Program) {
		load32(p, 0)
		p.ReturnIf(bpf.NotEqual(fdEpoll), kill)
		load32(p, 4)
		p.ReturnIf(bpf.NotEqual(0), kill)
		p.Return(allow)
	})
}

// allowNet allows writing to the outputs, and reading and writing net devices.
func allowNet(p *bpf.Program, devices []tender.Device, outputs []uint32) {
	var taps []uint32
	for i, d := range devices {
		if d.Type == unikernel.Net {
			taps = append(taps, uint32(fdDevice+i))
		}
	}
	allowCall(p, unix.SYS_WRITE, slices.Concat(outputs, taps)...)
	if len(taps) > 0 {
		allowCall(p, unix.SYS_READ, taps...)
	}
}

// allowBlockOrKill ends the program. pread64 and pwrite64 have consecutive numbers
// and share their rules, because a manifest with the maximum number of disks comes
// close to the longest program that Linux accepts.
func allowBlockOrKill(p *bpf.Program, devices []tender.Device) {
	var flushable []uint32
	for i, d := range devices {
		if d.Type == unikernel.Block && d.Flush {
			flushable = append(flushable, uint32(fdDevice+i))
		}
	}
	if len(flushable) > 0 {
		allowCall(p, unix.SYS_FDATASYNC, flushable...)
	}
	p.ReturnIf(bpf.Below(unix.SYS_PREAD64), kill)
	p.ReturnIf(bpf.Above(unix.SYS_PWRITE64), kill)
	load32(p, 0)
	for i := range devices {
		if devices[i].Type == unikernel.Block {
			p.When(bpf.Equal(uint32(fdDevice+i)), func(p *bpf.Program) { allowTransfer(p, &devices[i]) })
		}
	}
	p.Return(kill)
}

// allowTransfer allows a length (argument 2) and offset (argument 3) inside the
// device. The length is one block, or a multiple of it up to MaxTransfer.
func allowTransfer(p *bpf.Program, d *tender.Device) {
	size := uint32(d.BlockSize)
	load32(p, 2)
	if d.MaxTransfer <= size {
		p.ReturnIf(bpf.NotEqual(size), kill)
		limit := d.Capacity - uint64(size)
		allowOffset(p, uint32(limit>>32), bpf.Above(uint32(limit)))
		return
	}
	p.ReturnIf(bpf.Equal(0), kill)
	p.ReturnIf(bpf.Above(d.MaxTransfer), kill)
	p.ReturnIf(bpf.AnyBit(size-1), kill)
	p.CopyToX()
	allowOffsetBelow(p, d.Capacity)
}

// allowOffsetBelow allows an offset of at most capacity minus X, where X is the
// length and not zero. It subtracts in 64 bits, with a borrow from the upper half.
func allowOffsetBelow(p *bpf.Program, capacity uint64) {
	upper := uint32(capacity >> 32)
	// subtract leaves the lower half of the limit in X.
	subtract := func(p *bpf.Program, upper uint32) {
		p.SubtractX()
		p.CopyToX()
		allowOffset(p, upper, bpf.AboveX())
	}
	p.Set(uint32(capacity))
	p.When(bpf.AtLeastX(), func(p *bpf.Program) { subtract(p, upper) })
	if upper == 0 {
		p.Return(kill) // the length exceeds the capacity
		return
	}
	subtract(p, upper-1)
}

// allowOffset allows an offset whose upper half is less than upper, or is equal to
// upper while excess does not hold for its lower half.
func allowOffset(p *bpf.Program, upper uint32, excess bpf.Condition) {
	p.Load(bpf.High(3))
	p.ReturnIf(bpf.Above(upper), kill)
	p.ReturnIf(bpf.NotEqual(upper), allow)
	p.Load(bpf.Low(3))
	p.ReturnIf(excess, kill)
	p.Return(allow)
}
