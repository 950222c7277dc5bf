// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

const (
	// x32Bit marks the numbers of the x32 ABI, which come with the
	// architecture of x86-64 (asm/unistd.h).
	x32Bit = 0x40000000
	// archSetFS is ARCH_SET_FS (asm/prctl.h).
	archSetFS = 0x1002
)

// filter is the whole of what the guest may ask of the kernel: the nine calls
// of Solo5's spt bindings, each with the arguments that decide what it acts on
// compared in all 64 bits. Pointers are left to the kernel: nothing but the
// guest is mapped. A disk that may be flushed has fdatasync besides. Everything
// else kills the process.
func filter(devices []tender.Device) (program, error) {
	var p program
	p.load(offArch)
	p.killIf(ne(unix.AUDIT_ARCH_X86_64))
	p.load(offNumber)
	p.killIf(ge(x32Bit))
	p.net(devices)
	p.call(unix.SYS_EPOLL_PWAIT, fdEpoll)
	p.call(unix.SYS_TIMERFD_SETTIME, fdTimer)
	p.call(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_REALTIME)
	p.call(unix.SYS_ARCH_PRCTL, archSetFS)
	p.allowIf(eq(unix.SYS_EXIT_GROUP))
	p.block(devices)
	if len(p) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("system call filter of %d instructions, more than %d: attach fewer devices",
			len(p), unix.BPF_MAXINSNS)
	}
	return p, nil
}

// call allows a system call whose first argument is one of the values.
func (p *program) call(number uint32, values ...uint32) {
	p.when(eq(number), func(p *program) { p.oneOf(0, values...) })
}

func (p *program) net(devices []tender.Device) {
	var taps []uint32
	for i, d := range devices {
		if d.Type == unikernel.Net {
			taps = append(taps, uint32(fdDevice+i))
		}
	}
	p.call(unix.SYS_WRITE, append([]uint32{fdConsole}, taps...)...)
	if len(taps) > 0 {
		p.call(unix.SYS_READ, taps...)
	}
}

// block ends the program. pread64 and pwrite64 have neighbouring numbers and
// the same rule, which is there only once: a manifest full of disks comes near
// to the longest program that Linux takes.
func (p *program) block(devices []tender.Device) {
	var flushed []uint32
	for i, d := range devices {
		if d.Type == unikernel.Block && d.Flush {
			flushed = append(flushed, uint32(fdDevice+i))
		}
	}
	if len(flushed) > 0 {
		p.call(unix.SYS_FDATASYNC, flushed...)
	}
	p.killIf(lt(unix.SYS_PREAD64))
	p.killIf(gt(unix.SYS_PWRITE64))
	p.only32(0)
	for i := range devices {
		if devices[i].Type == unikernel.Block {
			p.when(eq(uint32(fdDevice+i)), func(p *program) { p.transfer(&devices[i]) })
		}
	}
	p.kill()
}

// transfer allows a length (argument 2) and offset (argument 3) that lie
// within the device.
func (p *program) transfer(d *tender.Device) {
	size := uint32(d.BlockSize)
	p.only32(2)
	if d.MaxTransfer <= size {
		p.killIf(ne(size))
		limit := d.Capacity - uint64(size)
		p.offset(uint32(limit>>32), func(p *program) { p.killIf(gt(uint32(limit))) })
		return
	}
	p.killIf(eq(0))
	p.killIf(gt(d.MaxTransfer))
	p.killIf(anyBit(size - 1))
	p.copyToX()
	p.within(d.Capacity)
}

// within allows an offset of at most capacity less X, where X is not zero: a
// subtraction of 64 bits with its borrow.
func (p *program) within(capacity uint64) {
	upper := uint32(capacity >> 32)
	belowX := func(upper uint32) func(*program) {
		return func(p *program) {
			p.subtractX()
			p.copyToX()
			p.offset(upper, func(p *program) { p.killIf(gtX()) })
		}
	}
	p.set(uint32(capacity))
	p.when(geX(), belowX(upper))
	if upper == 0 {
		p.kill()
		return
	}
	belowX(upper - 1)(p)
}

// offset allows an offset whose upper half is less than upper, or is equal to
// it while its lower half is not refused.
func (p *program) offset(upper uint32, refuse func(*program)) {
	p.load(high(3))
	p.killIf(gt(upper))
	p.allowIf(ne(upper))
	p.load(low(3))
	refuse(p)
	p.allow()
}
