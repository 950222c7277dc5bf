// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A program is a classic BPF program over struct seccomp_data. It is put
// together from conditions whose bodies all end in a return: what follows a
// condition runs where it did not hold, with the same accumulator.
type program []unix.SockFilter

// Where struct seccomp_data (linux/seccomp.h) holds what is tested.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// low and high are the offsets of the halves of argument n.
func low(n int) uint32  { return uint32(offArgs + 8*n) }
func high(n int) uint32 { return uint32(offArgs + 8*n + 4) }

// A condition compares the accumulator, unsigned, with a constant or with X.
type condition struct {
	code   uint16
	k      uint32
	negate bool
}

func eq(k uint32) condition      { return condition{code: unix.BPF_JEQ | unix.BPF_K, k: k} }
func ne(k uint32) condition      { return condition{code: unix.BPF_JEQ | unix.BPF_K, k: k, negate: true} }
func ge(k uint32) condition      { return condition{code: unix.BPF_JGE | unix.BPF_K, k: k} }
func lt(k uint32) condition      { return condition{code: unix.BPF_JGE | unix.BPF_K, k: k, negate: true} }
func gt(k uint32) condition      { return condition{code: unix.BPF_JGT | unix.BPF_K, k: k} }
func anyBit(k uint32) condition  { return condition{code: unix.BPF_JSET | unix.BPF_K, k: k} }
func geX() condition             { return condition{code: unix.BPF_JGE | unix.BPF_X} }
func gtX() condition             { return condition{code: unix.BPF_JGT | unix.BPF_X} }
func (p *program) allow()        { p.emit(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_ALLOW) }
func (p *program) kill()         { p.emit(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_KILL_PROCESS) }
func (p *program) load(o uint32) { p.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, o) }
func (p *program) set(k uint32)  { p.emit(unix.BPF_LD|unix.BPF_IMM, k) }
func (p *program) copyToX()      { p.emit(unix.BPF_MISC|unix.BPF_TAX, 0) }
func (p *program) subtractX()    { p.emit(unix.BPF_ALU|unix.BPF_SUB|unix.BPF_X, 0) }

func (p *program) emit(code uint16, k uint32) {
	*p = append(*p, unix.SockFilter{Code: code, K: k})
}

func (p *program) allowIf(c condition) { p.when(c, (*program).allow) }
func (p *program) killIf(c condition)  { p.when(c, (*program).kill) }

// when runs body where the condition holds. A conditional jump reaches 255
// instructions; over a longer body goes an unconditional one.
func (p *program) when(c condition, body func(*program)) {
	var b program
	body(&b)
	jump := unix.SockFilter{Code: unix.BPF_JMP | c.code, K: c.k}
	if len(b) <= 255 {
		jump.Jf = uint8(len(b))
		if c.negate {
			jump.Jt, jump.Jf = jump.Jf, jump.Jt
		}
		*p = append(append(*p, jump), b...)
		return
	}
	jump.Jt = 1
	if c.negate {
		jump.Jt, jump.Jf = jump.Jf, jump.Jt
	}
	over := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(b))}
	*p = append(append(*p, jump, over), b...)
}

// only32 loads an argument, kills unless its upper half is zero, and leaves the
// lower half to be tested.
func (p *program) only32(arg int) {
	p.load(high(arg))
	p.killIf(ne(0))
	p.load(low(arg))
}

// oneOf allows the call where the whole argument is one of the values.
func (p *program) oneOf(arg int, values ...uint32) {
	p.only32(arg)
	for _, v := range values {
		p.allowIf(eq(v))
	}
	p.kill()
}

// encode is the program as the kernel reads it: an array of struct sock_filter.
func (p program) encode() []byte {
	b := make([]byte, 0, 8*len(p))
	for _, i := range p {
		b = binary.LittleEndian.AppendUint16(b, i.Code)
		b = append(b, i.Jt, i.Jf)
		b = binary.LittleEndian.AppendUint32(b, i.K)
	}
	return b
}
