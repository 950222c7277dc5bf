// SPDX-License-Identifier: MPL-2.0

package unikernel

import "fmt"

// minSignalStack is the least size of Preempt's stack, in bytes. Linux writes up to
// 3.5 KiB of registers to it on a processor with AVX-512.
const minSignalStack = 8 << 10

// Preempt describes how the tender interrupts a guest with FeaturePreempt: a signal
// handler, and the stack on which it runs. All values are of the guest's memory.
type Preempt struct {
	Handler   uint64 // address of the handler's first instruction
	Stack     uint64 // lowest address
	StackSize uint64 // in bytes
}

// check refuses a handler outside of the guest's code, and a stack outside of its
// writable memory.
func (p *Preempt) check(segments []Segment) error {
	if !inSegment(segments, p.Handler, 1, func(s Segment) bool { return s.Exec }) {
		return fmt.Errorf("%w: the signal handler at %#x is not in the code", ErrInvalid, p.Handler)
	}
	if p.StackSize < minSignalStack || !inSegment(segments, p.Stack, p.StackSize, func(s Segment) bool { return s.Write }) {
		return fmt.Errorf("%w: the signal stack of %d bytes at %#x must have at least %d bytes of writable memory",
			ErrInvalid, p.StackSize, p.Stack, minSignalStack)
	}
	return nil
}

// inSegment reports whether size bytes at an address are in one segment of this kind.
func inSegment(segments []Segment, address, size uint64, kind func(Segment) bool) bool {
	for _, s := range segments {
		if kind(s) && address >= s.Addr && address-s.Addr < s.MemSize && size <= s.MemSize-(address-s.Addr) {
			return true
		}
	}
	return false
}
