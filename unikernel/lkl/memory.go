// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// kernelMemory lists measured sizes: the smallest guest memory whose kernel
// gets this much of it in one piece. A guest of a size between two rows gets
// the kernel memory of the smaller one. (Linux 5.3, Solo5 spt, 2 cores.)
var kernelMemory = []struct {
	guest  uint64
	kernel string
}{
	{256 << 20, "100M"},
	{136 << 20, "32M"},
	{72 << 20, "24M"},
	{unikernel.MinLegacyMemory, "12M"},
}

// KernelMemory returns the value of BootVariable that gives the kernel of a
// legacy guest as much of the guest's memory (in bytes) as it can have. The
// rest is the program's heap. Without it, a guest below 256 MiB ends in a
// fault. Guests with unikernel.FeatureMemory do not need it.
//
// The error wraps unikernel.ErrMemory.
func KernelMemory(guestMemory uint64) (string, error) {
	for _, row := range kernelMemory {
		if guestMemory >= row.guest {
			// The variable replaces the whole default, of which
			// force_legacy is the other part.
			return "mem=" + row.kernel + " virtio-pci.force_legacy=1", nil
		}
	}
	return "", fmt.Errorf("%w: a legacy LKL guest needs at least %d MiB, but it has %d KiB",
		unikernel.ErrMemory, unikernel.MinLegacyMemory>>20, guestMemory>>10)
}
