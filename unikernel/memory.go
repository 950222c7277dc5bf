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
	// minLKLMemory is the least memory, in bytes, that an LKL guest of 2020
	// was seen to start with.
	minLKLMemory = 32 << 20
)

// Fits tells whether the segments and the entry point lie in a guest memory of
// this many bytes. The error wraps ErrMemory and tells how much it takes.
func (m *Image) Fits(memory uint64) error {
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
func (m *Image) MinMemory() uint64 {
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
		need = max(need, minLKLMemory)
	}
	return (need + granule - 1) / granule * granule
}

// The measured table: how much memory a guest needs, at least, so that its
// kernel gets this much of it in one piece. Guest memory that was not measured
// gets what the next smaller one got. (Linux 5.3, Solo5 spt, 2 cores.)
var kernelMemory = []struct {
	guest  uint64
	kernel string
}{
	{256 << 20, "100M"},
	{136 << 20, "32M"},
	{72 << 20, "24M"},
	{minLKLMemory, "12M"},
}

// LKLKernelMemory is the value of LKLBootVariable that gives the kernel of an
// LKL guest of 2020 as much memory as fits into the guest's memory (bytes);
// the rest is the program's heap. Without it such a guest ends in a fault
// below 256 MiB. Guests with FeatureMemory need none. The error wraps ErrMemory.
func LKLKernelMemory(guestMemory uint64) (string, error) {
	for _, row := range kernelMemory {
		if guestMemory >= row.guest {
			// Their default but for the figure: the variable replaces it whole.
			return "mem=" + row.kernel + " virtio-pci.force_legacy=1", nil
		}
	}
	return "", fmt.Errorf("%w: an LKL guest of this kind needs at least %s, it has %s",
		ErrMemory, mebibytes(minLKLMemory), mebibytes(guestMemory))
}

// mebibytes writes a size rounded up to a tenth of a MiB.
func mebibytes(n uint64) string {
	return fmt.Sprintf("%.1f MiB", math.Ceil(float64(n)*10/(1<<20))/10)
}
