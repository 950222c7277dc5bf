// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// A task's memory limit counts all that its control group holds: the guest's
// memory, the page tables that map it, and the executor. What is not the
// guest's is set aside, so that a guest that touches all of its memory does
// not run into the limit.
const (
	// executorMemory is what the executor may use privately, in bytes; the
	// benchmark of memory per task holds it to that.
	executorMemory = 4 << 20
	// pageTableShare is the part of the limit that page tables may take: 8
	// bytes for each page of 4096.
	pageTableShare = 512
)

// memoryLimit is the task's limit in bytes: memory_max where the job sets it,
// else memory. A memory_max of -1 (no limit) counts as memory, since a guest's
// memory has a size from the start.
func memoryLimit(task *drivers.TaskConfig) uint64 {
	return uint64(task.Resources.LinuxResources.MemoryLimitBytes)
}

// memoryReserved is what the task keeps when the host runs short, in bytes; 0
// where the limit is the reservation.
func memoryReserved(task *drivers.TaskConfig) uint64 {
	r := task.Resources.NomadResources
	if r == nil || r.Memory.MemoryMaxMB <= r.Memory.MemoryMB {
		return 0
	}
	return uint64(r.Memory.MemoryMB) << 20
}

// oldGrain is what the memory of a guest of 2020 is a multiple of, in bytes. Its
// allocator takes all that there is, the stack's pages at the top among them, and
// gives out the smallest free pieces first: a size with lower bits than this one has
// such pieces right at the top, and the guest overwrites its own stack. (Measured
// with Solo5 0.6.4: guests of 507 and 510 MiB fault, those of 496 and 512 do not.)
const oldGrain = 16 << 20

// memoryGrain is what the guest's memory is a multiple of, in bytes.
func (k *kernel) memoryGrain() uint64 {
	if k.flavor == unikernel.FlavorLKL && !k.knows(unikernel.FeatureMemory) {
		return oldGrain
	}
	return unikernel.PageSize
}

// guestMemory is what a limit leaves for the guest, in bytes, whole grains.
func guestMemory(limit, grain uint64) uint64 {
	overhead := executorMemory + limit/pageTableShare
	if limit <= overhead {
		return 0
	}
	return (limit - overhead) &^ (grain - 1)
}

// limitFor is the smallest limit that leaves so much for the guest, in MiB, as
// a job states it.
func limitFor(guest, grain uint64) uint64 {
	mib := guest >> 20
	for guestMemory(mib<<20, grain) < guest {
		mib++
	}
	return mib
}

// checkMemory refuses a limit that leaves too little for the kernel, with the
// numbers.
func (k *kernel) checkMemory(limit uint64) error {
	grain, need := k.memoryGrain(), k.image.End+unikernel.MinHeap
	if grain == oldGrain {
		need = max(need, k.image.MinMemory())
	}
	memory := guestMemory(limit, grain)
	if memory >= need {
		return k.image.Fits(memory)
	}
	whole := ""
	if grain == oldGrain {
		whole = fmt.Sprintf(", of which Linux of 2020 can have %d KiB, in pieces of 16 MiB", memory>>10)
	}
	left := guestMemory(limit, unikernel.PageSize)
	return fmt.Errorf("%d MiB leave %d KiB for the guest after %d KiB for running it%s, "+
		"but the kernel takes %d KiB with its heap and stack: give the task at least %d MiB",
		limit>>20, left>>10, (limit-left)>>10, whole, need>>10, limitFor(need, grain))
}
