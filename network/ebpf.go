// SPDX-License-Identifier: MPL-2.0

package network

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An ebpf is an eBPF program under construction. All jumps lead forward.
type ebpf struct {
	code   []byte
	jumps  map[int]string // labels, by the number of the instruction that jumps there
	labels map[string]int // numbers of the labeled instructions
}

func newEBPF() *ebpf { return &ebpf{jumps: map[int]string{}, labels: map[string]int{}} }

// Registers. r0 has results, r1 to r5 have the parameters of helpers, and helpers
// preserve r6 to r9. r10 points to the end of the stack.
const (
	r0, r1, r2, r3, r4   = 0, 1, 2, 3, 4
	r6, r7, r8, stackEnd = 6, 7, 8, 10
)

// Helpers of the kernel (linux/bpf.h).
const (
	ktimeGet        = 5
	skbLoadBytes    = 26
	probeReadKernel = 113
)

const instructionSize = 8

// mapValue is the kind of a constant that names a map by its descriptor, and loads the address
// of its first value: BPF_PSEUDO_MAP_VALUE of linux/bpf.h.
const mapValue = 2

func (p *ebpf) emit(op, to, from byte, offset int16, value int32) {
	p.code = append(p.code, op, from<<4|to)
	p.code = binary.LittleEndian.AppendUint16(p.code, uint16(offset))
	p.code = binary.LittleEndian.AppendUint32(p.code, uint32(value))
}

func (p *ebpf) move(to, from byte) { p.emit(unix.BPF_ALU64|unix.BPF_MOV|unix.BPF_X, to, from, 0, 0) }

func (p *ebpf) subtract(from, register byte) {
	p.emit(unix.BPF_ALU64|unix.BPF_SUB|unix.BPF_X, from, register, 0, 0)
}

func (p *ebpf) set(to byte, value int32) { p.compute(unix.BPF_MOV, to, value) }

func (p *ebpf) compute(op, to byte, value int32) {
	p.emit(unix.BPF_ALU64|op|unix.BPF_K, to, 0, 0, value)
}

// load loads a variable of the stack.
func (p *ebpf) load(size, to byte, at int16) {
	p.emit(unix.BPF_LDX|unix.BPF_MEM|size, to, stackEnd, at, 0)
}

// pointTo sets a register to the address of a variable of the stack.
func (p *ebpf) pointTo(to byte, at int32) {
	p.move(to, stackEnd)
	p.compute(unix.BPF_ADD, to, at)
}

// constant loads a constant of 64 bits.
func (p *ebpf) constant(to, kind byte, value uint64) {
	p.emit(unix.BPF_LD|unix.BPF_DW|unix.BPF_IMM, to, kind, 0, int32(uint32(value)))
	p.emit(0, 0, 0, 0, int32(uint32(value>>32)))
}

// loadWord loads 32 bits from an address.
func (p *ebpf) loadWord(to, from byte, at int16) {
	p.emit(unix.BPF_LDX|unix.BPF_MEM|unix.BPF_W, to, from, at, 0)
}

// combine computes with two registers.
func (p *ebpf) combine(op, to, from byte) {
	p.emit(unix.BPF_ALU64|op|unix.BPF_X, to, from, 0, 0)
}

// jump2 jumps to a label if the comparison of two registers holds.
func (p *ebpf) jump2(op, left, right byte, label string) {
	p.jumps[p.next()] = label
	p.emit(unix.BPF_JMP|op|unix.BPF_X, left, right, 0, 0)
}

// jump jumps to a label if the comparison of a register with a value holds.
func (p *ebpf) jump(op, register byte, value int32, label string) {
	p.jumps[p.next()] = label
	p.emit(unix.BPF_JMP|op|unix.BPF_K, register, 0, 0, value)
}

func (p *ebpf) jumpAlways(label string) { p.jump(unix.BPF_JA, 0, 0, label) }

func (p *ebpf) label(name string) { p.labels[name] = p.next() }

// next returns the number of the next instruction.
func (p *ebpf) next() int { return len(p.code) / instructionSize }

// call calls a helper, and jumps to a label if that fails.
func (p *ebpf) call(helper int32, failed string) {
	p.emit(unix.BPF_JMP|unix.BPF_CALL, 0, 0, 0, helper)
	p.jump(unix.BPF_JNE, r0, 0, failed)
}

func (p *ebpf) exit(verdict netlink.TcAct) {
	p.set(r0, int32(verdict))
	p.emit(unix.BPF_JMP|unix.BPF_EXIT, 0, 0, 0, 0)
}

// link sets the distances of the jumps, and returns the program.
func (p *ebpf) link() []byte {
	for at, label := range p.jumps {
		binary.LittleEndian.PutUint16(p.code[instructionSize*at+2:], uint16(p.labels[label]-at-1))
	}
	return p.code
}

// loadClassifier loads an eBPF program for traffic control.
func loadClassifier(code []byte) (*os.File, error) {
	license := []byte("Dual MPL/GPL\x00") // some helpers are only for programs under the GPL
	attributes := struct {
		kind, count       uint32
		code, license     uint64
		logLevel, logSize uint32
		log               uint64
		version, flags    uint32
	}{
		kind: unix.BPF_PROG_TYPE_SCHED_CLS, count: uint32(len(code) / instructionSize),
		code: address(code), license: address(license),
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attributes)), unsafe.Sizeof(attributes))
	runtime.KeepAlive(code)
	runtime.KeepAlive(license)
	if errno != 0 {
		return nil, fmt.Errorf("load a program into the kernel: %w", errno)
	}
	return os.NewFile(fd, "bpf"), nil
}

// newVariable creates a map with one value of 8 bytes, which is 0.
func newVariable() (*os.File, error) {
	attributes := struct{ kind, keySize, valueSize, entries, flags uint32 }{unix.BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_MAP_CREATE, uintptr(unsafe.Pointer(&attributes)), unsafe.Sizeof(attributes))
	runtime.KeepAlive(&attributes)
	if errno != 0 {
		return nil, fmt.Errorf("create a map in the kernel: %w", errno)
	}
	return os.NewFile(fd, "bpf"), nil
}

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }
