// SPDX-License-Identifier: MPL-2.0

package bpf

import (
	"slices"

	"golang.org/x/sys/unix"
)

// The instructions of this file are for programs over packets. A load beyond the end of
// the packet ends the program with 0.

// LoadHalf loads the 16 bits at an offset of the packet into the accumulator.
func (p *Program) LoadHalf(offset uint32) { p.emit(unix.BPF_LD|unix.BPF_H|unix.BPF_ABS, offset) }

// LoadByte loads the byte at an offset of the packet into the accumulator.
func (p *Program) LoadByte(offset uint32) { p.emit(unix.BPF_LD|unix.BPF_B|unix.BPF_ABS, offset) }

// LoadHalfAfterX loads the 16 bits at an offset after X into the accumulator.
func (p *Program) LoadHalfAfterX(offset uint32) { p.emit(unix.BPF_LD|unix.BPF_H|unix.BPF_IND, offset) }

// LoadByteAfterX loads the byte at an offset after X into the accumulator.
func (p *Program) LoadByteAfterX(offset uint32) { p.emit(unix.BPF_LD|unix.BPF_B|unix.BPF_IND, offset) }

// LoadHeaderLength loads the length in bytes of the IPv4 header at an offset into X.
func (p *Program) LoadHeaderLength(offset uint32) {
	p.emit(unix.BPF_LDX|unix.BPF_B|unix.BPF_MSH, offset)
}

// LoadVLANTagPresent sets the accumulator to 1 if the kernel has removed a VLAN tag from
// the packet, or else to 0.
func (p *Program) LoadVLANTagPresent() {
	const adOffset, vlanTagPresent = 1<<32 - 0x1000, 48 // SKF_AD_OFF and SKF_AD_VLAN_TAG_PRESENT of linux/filter.h
	p.Load(adOffset + vlanTagPresent)
}

// LoadLength loads the length of the packet in bytes into the accumulator.
func (p *Program) LoadLength() { p.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_LEN, 0) }

// ReturnUnlessOneOf ends the program with an action if the words from an offset of the
// packet on equal none of the values. A word has 32 bits.
func (p *Program) ReturnUnlessOneOf(offset uint32, values [][]uint32, action uint32) {
	var otherwise Program
	otherwise.Return(action)
	p.unlessOneOf(offset, values, otherwise)
}

// WhenOneOf runs body if the words from an offset of the packet on equal one of the
// values. Unlike the body of When, this body may end without a return: the program then
// continues after it. The accumulator is undefined after WhenOneOf.
func (p *Program) WhenOneOf(offset uint32, values [][]uint32, body func(*Program)) {
	var b, skip Program
	body(&b)
	skip.emit(unix.BPF_JMP|unix.BPF_JA, uint32(len(b)))
	p.unlessOneOf(offset, values, skip)
	*p = append(*p, b...)
}

// unlessOneOf runs the instructions of otherwise if the words from an offset on equal
// none of the values.
func (p *Program) unlessOneOf(offset uint32, values [][]uint32, otherwise Program) {
	b := otherwise
	for _, words := range slices.Backward(values) {
		// The comparison of a word and the jump to the end of all comparisons
		// are two instructions each.
		size := 2*len(words) + 1
		var one Program
		for i, word := range words {
			one.Load(offset + uint32(4*i))
			rest := size - len(one) - 1
			one = append(one, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: uint8(rest), K: word})
		}
		one.emit(unix.BPF_JMP|unix.BPF_JA, uint32(len(b)))
		b = append(one, b...)
	}
	*p = append(*p, b...)
}

// ReplaceReturn makes the program return another action wherever it returns from.
func (p Program) ReplaceReturn(from, to uint32) {
	for i, instruction := range p {
		if instruction.Code == unix.BPF_RET|unix.BPF_K && instruction.K == from {
			p[i].K = to
		}
	}
}
