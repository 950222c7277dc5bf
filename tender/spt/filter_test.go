// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package spt

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// A syscallData is what the filter sees of a system call.
type syscallData struct {
	number, arch uint32
	args         [6]uint64
}

func call(number uint32, args ...uint64) syscallData {
	d := syscallData{number: number, arch: unix.AUDIT_ARCH_X86_64}
	copy(d.args[:], args)
	return d
}

// allows interprets the filter. The interpreter is one for packets: it loads
// words in network order, which is how they are laid out for it here.
func allows(t *testing.T, vm *bpf.VM, d syscallData) bool {
	t.Helper()
	b := make([]byte, 64)
	binary.BigEndian.PutUint32(b[offNumber:], d.number)
	binary.BigEndian.PutUint32(b[offArch:], d.arch)
	for i, a := range d.args {
		binary.BigEndian.PutUint32(b[low(i):], uint32(a))
		binary.BigEndian.PutUint32(b[high(i):], uint32(a>>32))
	}
	result, err := vm.Run(b)
	must.NoError(t, err)
	switch uint32(result) {
	case unix.SECCOMP_RET_ALLOW:
		return true
	case unix.SECCOMP_RET_KILL_PROCESS:
		return false
	}
	t.Fatalf("filter returns %#x for %+v", result, d)
	return false
}

func filterVM(t *testing.T, devices ...tender.Device) *bpf.VM {
	t.Helper()
	p, err := filter(devices)
	must.NoError(t, err)
	raw := make([]bpf.RawInstruction, len(p))
	for i, s := range p {
		raw[i] = bpf.RawInstruction{Op: s.Code, Jt: s.Jt, Jf: s.Jf, K: s.K}
	}
	instructions, ok := bpf.Disassemble(raw)
	must.True(t, ok)
	vm, err := bpf.NewVM(instructions)
	must.NoError(t, err)
	return vm
}

const (
	tapFD  = fdDevice
	diskFD = fdDevice + 1
	bigFD  = fdDevice + 2
	big    = 5<<30 + 1<<20 // more than 32 bits
)

// devices are one network, one disk as Solo5 has it, one with extensions.
var devices = []tender.Device{
	{Type: unikernel.Net},
	{Type: unikernel.Block, Capacity: 1 << 20, BlockSize: 512},
	{Type: unikernel.Block, Capacity: big, BlockSize: 4096, MaxTransfer: 1 << 20, Flush: true},
}

// allowed are calls of each kind that the devices allow, with the arguments
// that the filter decides by.
var allowed = []struct {
	call    syscallData
	decides []int
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
	{call(unix.SYS_EPOLL_PWAIT, fdEpoll, 0, 8, ^uint64(0)), []int{0}},
	{call(unix.SYS_TIMERFD_SETTIME, fdTimer, 1), []int{0}},
	{call(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC), []int{0}},
	{call(unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME), []int{0}},
	{call(unix.SYS_ARCH_PRCTL, archSetFS, 0xdeadbeef000), []int{0}},
	{call(unix.SYS_EXIT_GROUP, 255), nil},
}

func TestFilter_AllowsWhatTheABIHas(t *testing.T) {
	vm := filterVM(t, devices...)
	for _, c := range allowed {
		must.True(t, allows(t, vm, c.call), must.Sprintf("%+v", c.call))
	}
}

func TestFilter_DecidesByEveryBit(t *testing.T) {
	vm := filterVM(t, devices...)
	known := map[syscallData]bool{}
	for _, c := range allowed {
		for _, arg := range c.decides {
			for bit := range 64 {
				d := c.call
				d.args[arg] ^= 1 << bit
				known[d] = false
			}
		}
	}
	// Some differ by one bit from each other.
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

func TestFilter_KnowsNoOtherCallNorArchitecture(t *testing.T) {
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
			for _, upper := range []uint32{0, x32Bit, 1 << 31} {
				d := c.call
				d.number = number | upper
				if upper != 0 || !numbers[number] {
					must.False(t, allows(t, vm, d), must.Sprintf("%+v", d))
				}
			}
		}
	}
}

func TestFilter_WithoutDevicesKnowsNone(t *testing.T) {
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

func TestFilter_FlushesOnlyWhereAsked(t *testing.T) {
	vm := filterVM(t, devices...)
	for fd := range uint64(16) {
		must.Eq(t, fd == bigFD, allows(t, vm, call(unix.SYS_FDATASYNC, fd)))
		must.False(t, allows(t, vm, call(unix.SYS_FSYNC, fd)))
	}
}

// transferAllowed is what a disk allows, in Go.
func transferAllowed(d tender.Device, length, offset uint64) bool {
	size := uint64(d.BlockSize)
	most := max(uint64(d.MaxTransfer), size)
	return length != 0 && length%size == 0 && length <= most &&
		length <= d.Capacity && offset <= d.Capacity-length
}

func TestFilter_TransfersStayWithinTheDisk(t *testing.T) {
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

func TestFilter_FitsForEveryManifest(t *testing.T) {
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
