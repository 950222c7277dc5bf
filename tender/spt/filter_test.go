// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package spt

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/shoenig/test/must"
	xbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// syscallData is struct seccomp_data without the instruction pointer.
type syscallData struct {
	number, arch uint32
	args         [6]uint64
}

func call(number uint32, args ...uint64) syscallData {
	d := syscallData{number: number, arch: unix.AUDIT_ARCH_X86_64}
	copy(d.args[:], args)
	return d
}

// allows runs the filter in an interpreter for packet filters. That loads words in
// network byte order, so they are stored in this order.
func allows(t *testing.T, vm *xbpf.VM, d syscallData) bool {
	t.Helper()
	b := make([]byte, 64)
	binary.BigEndian.PutUint32(b[bpf.Number:], d.number)
	binary.BigEndian.PutUint32(b[bpf.Arch:], d.arch)
	for i, a := range d.args {
		binary.BigEndian.PutUint32(b[bpf.Low(i):], uint32(a))
		binary.BigEndian.PutUint32(b[bpf.High(i):], uint32(a>>32))
	}
	result, err := vm.Run(b)
	must.NoError(t, err)
	switch uint32(result) {
	case unix.SECCOMP_RET_ALLOW:
		return true
	case unix.SECCOMP_RET_KILL_PROCESS:
		return false
	}
	t.Fatalf("the filter returned %#x for %+v", result, d)
	return false
}

func filterVM(t *testing.T, devices ...tender.Device) *xbpf.VM {
	t.Helper()
	return outputFilterVM(t, []uint32{fdConsole}, devices...)
}

func outputFilterVM(t *testing.T, outputs []uint32, devices ...tender.Device) *xbpf.VM {
	t.Helper()
	p, err := filter(devices, outputs)
	must.NoError(t, err)
	raw := make([]xbpf.RawInstruction, len(p))
	for i, s := range p {
		raw[i] = xbpf.RawInstruction{Op: s.Code, Jt: s.Jt, Jf: s.Jf, K: s.K}
	}
	instructions, ok := xbpf.Disassemble(raw)
	must.True(t, ok)
	vm, err := xbpf.NewVM(instructions)
	must.NoError(t, err)
	return vm
}

const (
	tapFD  = fdDevice
	diskFD = fdDevice + 1
	bigFD  = fdDevice + 2
	big    = 5<<30 + 1<<20 // more than 32 bits
)

// devices are a network, a disk as Solo5 defines it, and a disk with extensions.
var devices = []tender.Device{
	{Type: unikernel.Net},
	{Type: unikernel.Block, Capacity: 1 << 20, BlockSize: 512},
	{Type: unikernel.Block, Capacity: big, BlockSize: 4096, MaxTransfer: 1 << 20, Flush: true},
}

// allowed has allowed calls of each kind, with the arguments of which every bit
// matters.
var allowed = []struct {
	call     syscallData
	compared []int
}{
	{call(unix.SYS_WRITE, 1, 0x123456789a, 1<<40), []int{0}},
	{call(unix.SYS_WRITE, tapFD, 0, 1514), []int{0}},
	{call(unix.SYS_READ, tapFD, 0, 2048), []int{0}},
	{call(unix.SYS_PREAD64, diskFD, 0, 512, 0), []int{0, 2}},
	{call(unix.SYS_PREAD64, diskFD, 0, 512, 1<<20-512), []int{0, 2}},
	{call(unix.SYS_PWRITE64, diskFD, 0, 512, 512), []int{0, 2}},
	{call(unix.SYS_PREAD64, bigFD, 0, 4096, big-4096), []int{0}},
	{call(unix.SYS_PWRITE64, bigFD, 0, 1<<20, big-1<<20), []int{0}},
	{call(unix.SYS_FDATASYNC, bigFD), []int{0}},
	{call(unix.SYS_EPOLL_PWAIT, fdEpoll, 0, 8, ^uint64(0)), []int{0, 4}},
	{call(unix.SYS_TIMERFD_SETTIME, fdTimer, 1), []int{0}},
	{call(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC), []int{0}},
	{call(unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME), []int{0}},
	{call(unix.SYS_ARCH_PRCTL, archSetFS, 0xdeadbeef000), []int{0}},
	{call(unix.SYS_EXIT_GROUP, 255), nil},
}

func TestFilter_AllowsTheCallsOfTheABI(t *testing.T) {
	vm := filterVM(t, devices...)
	for _, c := range allowed {
		must.True(t, allows(t, vm, c.call), must.Sprintf("%+v", c.call))
	}
}

func TestFilter_AllowsOnlyWritingToStderr(t *testing.T) {
	vm := outputFilterVM(t, []uint32{fdConsole, fdStderr}, devices...)
	for _, c := range allowed {
		must.True(t, allows(t, vm, c.call), must.Sprintf("%+v", c.call))
	}
	write := call(unix.SYS_WRITE, fdStderr, 0, 4096)
	must.True(t, allows(t, vm, write))
	must.False(t, allows(t, filterVM(t, devices...), write))
	for _, number := range []uint32{unix.SYS_READ, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_FDATASYNC} {
		must.False(t, allows(t, vm, call(number, fdStderr, 0, 512)))
	}
	must.False(t, allows(t, vm, call(unix.SYS_WRITE, fdStderr|1<<32, 0, 512)))
}

func TestFilter_ComparesEveryBit(t *testing.T) {
	vm := filterVM(t, devices...)
	known := map[syscallData]bool{}
	for _, c := range allowed {
		for _, arg := range c.compared {
			for bit := range 64 {
				d := c.call
				d.args[arg] ^= 1 << bit
				known[d] = false
			}
		}
	}
	// Some allowed calls differ in one bit only.
	for d := range known {
		switch {
		case d.number == unix.SYS_WRITE && (d.args[0] == fdConsole || d.args[0] == tapFD),
			d.number == unix.SYS_CLOCK_GETTIME && d.args[0] <= unix.CLOCK_MONOTONIC:
			known[d] = true
		}
	}
	for d, want := range known {
		must.Eq(t, want, allows(t, vm, d), must.Sprintf("%+v", d))
	}
}

func TestFilter_KillsOtherCallsAndArchitectures(t *testing.T) {
	vm := filterVM(t, devices...)
	numbers := map[uint32]bool{}
	for _, c := range allowed {
		numbers[c.call.number] = true
	}
	const x86, arm64 = 0x40000003, 0xc00000b7 // AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64
	for _, c := range allowed {
		for _, arch := range []uint32{0, x86, arm64, unix.AUDIT_ARCH_X86_64 ^ 1<<31} {
			d := c.call
			d.arch = arch
			must.False(t, allows(t, vm, d), must.Sprintf("%+v", d))
		}
		for number := range uint32(600) {
			for _, upper := range []uint32{0, bpf.X32Bit, 1 << 31} {
				d := c.call
				d.number = number | upper
				if upper != 0 || !numbers[number] {
					must.False(t, allows(t, vm, d), must.Sprintf("%+v", d))
				}
			}
		}
	}
}

func TestFilter_WithoutDevicesAllowsNoDeviceCalls(t *testing.T) {
	vm := filterVM(t)
	for _, number := range []uint32{unix.SYS_READ, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_FDATASYNC} {
		for fd := range uint64(16) {
			must.False(t, allows(t, vm, call(number, fd, 0, 512, 0)))
		}
	}
	for fd := range uint64(16) {
		must.Eq(t, fd == fdConsole, allows(t, vm, call(unix.SYS_WRITE, fd)))
	}
}

func TestFilter_AllowsFlushIfEnabled(t *testing.T) {
	vm := filterVM(t, devices...)
	for fd := range uint64(16) {
		must.Eq(t, fd == bigFD, allows(t, vm, call(unix.SYS_FDATASYNC, fd)))
		must.False(t, allows(t, vm, call(unix.SYS_FSYNC, fd)))
	}
}

// transferAllowed is the rule for disks, in Go.
func transferAllowed(d tender.Device, length, offset uint64) bool {
	size := uint64(d.BlockSize)
	most := max(uint64(d.MaxTransfer), size)
	return length != 0 && length%size == 0 && length <= most &&
		length <= d.Capacity && offset <= d.Capacity-length
}

func TestFilter_TransfersStayInsideTheDisk(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, d := range []tender.Device{
		{BlockSize: 512, Capacity: 512},
		{BlockSize: 512, Capacity: 1 << 20},
		{BlockSize: 4096, Capacity: 1<<32 - 4096},
		{BlockSize: 4096, Capacity: 1 << 32},
		{BlockSize: 4096, Capacity: 1<<32 + 4096},
		{BlockSize: 32768, Capacity: 1<<63 - 32768},
		{BlockSize: 512, Capacity: 512, MaxTransfer: 1 << 20},
		{BlockSize: 512, Capacity: 1<<20 - 512, MaxTransfer: 1 << 20},
		{BlockSize: 512, Capacity: 1<<32 + 512, MaxTransfer: 1 << 20},
		{BlockSize: 4096, Capacity: big, MaxTransfer: 1 << 20},
		{BlockSize: 4096, Capacity: 1<<63 - 4096, MaxTransfer: 8192},
	} {
		d.Type = unikernel.Block
		t.Run(fmt.Sprintf("%d of %d by %d", d.Capacity, d.BlockSize, d.MaxTransfer), func(t *testing.T) {
			vm := filterVM(t, d)
			size, both := uint64(d.BlockSize), [2]int{}
			near := func(around ...uint64) uint64 {
				n := around[random.IntN(len(around))]
				return n + (random.Uint64N(5)-2)*[]uint64{1, size}[random.IntN(2)]
			}
			for range 4000 {
				length := near(0, size, 2*size, uint64(d.MaxTransfer), d.Capacity, 1<<32, 1<<32+size)
				offset := near(0, d.Capacity-length, d.Capacity, 1<<32, 1<<32-length, 1<<63, random.Uint64())
				want := transferAllowed(d, length, offset)
				for _, number := range []uint32{unix.SYS_PREAD64, unix.SYS_PWRITE64} {
					got := allows(t, vm, call(number, fdDevice, 0, length, offset))
					must.Eq(t, want, got, must.Sprintf("length %#x offset %#x", length, offset))
				}
				both[map[bool]int{false: 0, true: 1}[want]]++
			}
			must.Positive(t, both[0])
			must.Positive(t, both[1])
		})
	}
}

func TestFilter_FitsForTheLargestManifest(t *testing.T) {
	var many []tender.Device
	for range unikernel.MaxDevices {
		many = append(many, devices[2])
	}
	vm := filterVM(t, many...)
	for i := range uint64(unikernel.MaxDevices) {
		must.True(t, allows(t, vm, call(unix.SYS_PWRITE64, fdDevice+i, 0, 8192, 4096)))
		must.False(t, allows(t, vm, call(unix.SYS_PWRITE64, fdDevice+i, 0, 8192, big)))
	}
	must.False(t, allows(t, vm, call(unix.SYS_PWRITE64, fdDevice+unikernel.MaxDevices, 0, 8192, 4096)))
}
