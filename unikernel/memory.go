// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"fmt"
	"math"
)

const (
	// MinHeap is what a guest needs beyond its image, in bytes: with less, Solo5's
	// bindings refuse to run (Solo5: bindings/mem.c).
	MinHeap = 512 << 10
	// MinLegacyMemory is the smallest memory, in bytes, with which a legacy LKL
	// guest was seen to start.
	MinLegacyMemory = 32 << 20
)

// Fits tells whether the segments and the entry point lie in a guest memory of
// this many bytes. The error wraps ErrMemory and tells how much it takes.
func (m *Info) Fits(memory uint64) error {
	if m.End > memory {
		return fmt.Errorf("%w: the image alone takes %s, the guest has %s", ErrMemory, mebibytes(m.End), mebibytes(memory))
	}
	if m.Entry >= memory {
		return fmt.Errorf("%w: the entry point %#x lies beyond the guest's %s", ErrMemory, m.Entry, mebibytes(memory))
	}
	return nil
}

// MinMemory is the least guest memory, in bytes, that the unikernel can start
// with, as far as its file tells: whole MiB, or 2 MiB under hvt, whose page
// tables have that grain. What its program needs comes on top.
func (m *Info) MinMemory() uint64 {
	granule := uint64(1 << 20)
	if m.Target == TargetHVT {
		granule = 2 << 20
	}
	need := max(m.End, m.Entry)
	if need > math.MaxUint64-MinHeap-granule {
		return math.MaxUint64
	}
	need += MinHeap
	if m.Flavor() == FlavorLKL && !m.Features.Has(FeatureMemory) {
		need = max(need, MinLegacyMemory)
	}
	return (need + granule - 1) / granule * granule
}

// mebibytes writes a size rounded up to a tenth of a MiB.
func mebibytes(n uint64) string {
	return fmt.Sprintf("%.1f MiB", math.Ceil(float64(n)*10/(1<<20))/10)
}
