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

// guestMemory is what a limit leaves for the guest, in bytes, whole pages.
func guestMemory(limit uint64) uint64 {
	overhead := executorMemory + limit/pageTableShare
	if limit <= overhead {
		return 0
	}
	return (limit - overhead) &^ (unikernel.PageSize - 1)
}

// limitFor is the smallest limit that leaves so much for the guest, in MiB, as
// a job states it.
func limitFor(guest uint64) uint64 {
	mib := guest >> 20
	for guestMemory(mib<<20) < guest {
		mib++
	}
	return mib
}

// leastFree is what a guest needs beyond its own segments, in bytes: with less,
// Solo5's bindings refuse to run (Solo5: bindings/mem.c).
const leastFree = 512 << 10

// checkMemory refuses a size that cannot hold the kernel, with the numbers.
func checkMemory(image *unikernel.Image, limit uint64) error {
	memory := guestMemory(limit)
	if memory >= image.End+leastFree {
		return image.Fits(memory)
	}
	return fmt.Errorf("%d MiB leave %d KiB for the guest after %d KiB for running it, "+
		"but the kernel takes %d KiB with its heap and stack: give the task at least %d MiB",
		limit>>20, memory>>10, (limit-memory)>>10, (image.End+leastFree)>>10, limitFor(image.End+leastFree))
}
