// SPDX-License-Identifier: MPL-2.0

// Package bpf assembles classic BPF programs for seccomp and for packet filters.
//
// No library covers the filter of tender/spt, which compares the sum of two
// arguments, a disk's offset and length, with the capacity in 64 bits. libseccomp
// (which needs cgo) and elastic/go-seccomp-bpf compare one argument with a
// constant. golang.org/x/net/bpf would replace only the encoding of instructions;
// the tests use its virtual machine as an independent implementation.
package bpf

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A Program is a sequence of instructions over struct seccomp_data or over a packet.
// The kernel takes at most unix.BPF_MAXINSNS of them.
//
// A Program is built from conditions with bodies. If every path through a body ends in a
// return, the instructions after it run only if its condition did not hold, with the
// accumulator unchanged.
type Program []unix.SockFilter

// Offsets in struct seccomp_data (linux/seccomp.h), for Load.
const (
	Number = 0 // system call number
	Arch   = 4 // AUDIT_ARCH_*
	args   = 16
)

// Low returns the offset of the lower 32 bits of argument n, counted from 0.
func Low(n int) uint32 { return uint32(args + 8*n) }

// High returns the offset of the upper 32 bits of argument n.
func High(n int) uint32 { return uint32(args + 8*n + 4) }

// A Condition compares the accumulator with a constant or with the index
// register X. All comparisons are unsigned.
type Condition struct {
	code   uint16
	k      uint32
	negate bool
}

// Equal holds if the accumulator is k.
func Equal(k uint32) Condition { return Condition{code: unix.BPF_JEQ | unix.BPF_K, k: k} }

// NotEqual holds if the accumulator is not k.
func NotEqual(k uint32) Condition {
	return Condition{code: unix.BPF_JEQ | unix.BPF_K, k: k, negate: true}
}

// AtLeast holds if the accumulator is k or more.
func AtLeast(k uint32) Condition { return Condition{code: unix.BPF_JGE | unix.BPF_K, k: k} }

// Below holds if the accumulator is less than k.
func Below(k uint32) Condition {
	return Condition{code: unix.BPF_JGE | unix.BPF_K, k: k, negate: true}
}

// Above holds if the accumulator is more than k.
func Above(k uint32) Condition { return Condition{code: unix.BPF_JGT | unix.BPF_K, k: k} }

// AnyBit holds if the accumulator and k have a bit in common.
func AnyBit(k uint32) Condition { return Condition{code: unix.BPF_JSET | unix.BPF_K, k: k} }

// AtLeastX holds if the accumulator is X or more.
func AtLeastX() Condition { return Condition{code: unix.BPF_JGE | unix.BPF_X} }

// AboveX holds if the accumulator is more than X.
func AboveX() Condition { return Condition{code: unix.BPF_JGT | unix.BPF_X} }

// Load loads the 32 bits at an offset of struct seccomp_data or of the packet into the
// accumulator.
func (p *Program) Load(offset uint32) { p.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset) }

// Set sets the accumulator to k.
func (p *Program) Set(k uint32) { p.emit(unix.BPF_LD|unix.BPF_IMM, k) }

// CopyToX copies the accumulator to X.
func (p *Program) CopyToX() { p.emit(unix.BPF_MISC|unix.BPF_TAX, 0) }

// SubtractX subtracts X from the accumulator, modulo 2^32.
func (p *Program) SubtractX() { p.emit(unix.BPF_ALU|unix.BPF_SUB|unix.BPF_X, 0) }

// Return ends the program with an action, such as unix.SECCOMP_RET_ALLOW. A packet
// filter returns 0 to reject the packet.
func (p *Program) Return(action uint32) { p.emit(unix.BPF_RET|unix.BPF_K, action) }

// ReturnIf ends the program with an action if c holds.
func (p *Program) ReturnIf(c Condition, action uint32) {
	p.When(c, func(p *Program) { p.Return(action) })
}

// When runs body if c holds. Unless body ends in a return, the program continues after it,
// with the accumulator that body leaves.
func (p *Program) When(c Condition, body func(*Program)) {
	// A conditional jump reaches 255 instructions. To skip a longer
	// body, add an unconditional jump, whose offset has 32 bits.
	const longestJump = 255
	var b Program
	body(&b)
	jump := unix.SockFilter{Code: unix.BPF_JMP | c.code, K: c.k}
	var skip Program
	if len(b) <= longestJump {
		jump.Jf = uint8(len(b))
	} else {
		jump.Jt = 1
		skip = Program{{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(b))}}
	}
	if c.negate {
		jump.Jt, jump.Jf = jump.Jf, jump.Jt
	}
	*p = append(*p, jump)
	*p = append(append(*p, skip...), b...)
}

func (p *Program) emit(code uint16, k uint32) {
	*p = append(*p, unix.SockFilter{Code: code, K: k})
}

// Encode returns the program as an array of struct sock_filter (linux/filter.h)
// on a little-endian machine.
func (p Program) Encode() []byte {
	b := make([]byte, 0, 8*len(p))
	for _, i := range p {
		b = binary.LittleEndian.AppendUint16(b, i.Code)
		b = append(b, i.Jt, i.Jf)
		b = binary.LittleEndian.AppendUint32(b, i.K)
	}
	return b
}
