// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"fmt"
	"math"
)

const (
	// MinHeap is the memory that a guest needs in addition to its segments, in
	// bytes. With less, Solo5's bindings refuse to run (bindings/mem.c).
	MinHeap = 512 << 10
	// MinLegacyMemory is the smallest memory, in bytes, with which a legacy LKL
	// guest was seen to start.
	MinLegacyMemory = 32 << 20
)

// Fits checks that the segments and the entry point are inside a guest memory of
// this many bytes. The error wraps ErrMemory and contains the required size.
func (u *Info) Fits(memory uint64) error {
	if u.End > memory {
		return fmt.Errorf("%w: the unikernel needs %s for its segments, but the guest has %s", ErrMemory, mebibytes(u.End), mebibytes(memory))
	}
	if u.Entry >= memory {
		return fmt.Errorf("%w: the entry point %#x is beyond the guest's %s", ErrMemory, u.Entry, mebibytes(memory))
	}
	return nil
}

// MinMemory returns the smallest guest memory, in bytes, with which the unikernel
// can start, as far as its file shows. The program needs more. The result is in
// whole MiB, or in 2 MiB under hvt, whose page tables map pages of that size.
func (u *Info) MinMemory() uint64 {
	unit := uint64(1 << 20)
	if u.Target == TargetHVT {
		unit = 2 << 20
	}
	need := max(u.End, u.Entry)
	if need > math.MaxUint64-MinHeap-unit {
		return math.MaxUint64
	}
	need += MinHeap
	if u.Flavor() == FlavorLKL && !u.Features.Has(FeatureMemory) {
		need = max(need, MinLegacyMemory)
	}
	return (need + unit - 1) / unit * unit
}

// mebibytes formats a size, rounded up to a tenth of a MiB.
func mebibytes(n uint64) string {
	return fmt.Sprintf("%.1f MiB", math.Ceil(float64(n)*10/(1<<20))/10)
}
