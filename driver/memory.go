// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// A task's memory limit covers its whole control group: the guest's memory, the
// page tables that map it, the executor and the file server. The driver reserves the
// overhead, so that a guest that uses all of its memory does not exceed the limit.
const (
	// executorMemory is the executor's private memory in bytes. The benchmark of
	// memory per task enforces it.
	executorMemory = 4 << 20
	// serverMemory is the same of the file server, which a guest with live directories has.
	serverMemory = 6 << 20
	// pageTableShare is the part of the limit reserved for page tables: 8 bytes
	// for each page of 4096.
	pageTableShare = 512
)

// memoryLimit returns the task's limit in bytes: memory_max, or memory if the
// job does not set memory_max. For a memory_max of -1 (no limit), Nomad passes
// memory too. The guest needs some limit, because its memory size is fixed.
func memoryLimit(task *drivers.TaskConfig) uint64 {
	return uint64(task.Resources.LinuxResources.MemoryLimitBytes)
}

// memoryReserved returns the memory in bytes that the task keeps when the host
// runs short. It is 0 if the limit is also the reservation.
func memoryReserved(task *drivers.TaskConfig) uint64 {
	r := task.Resources.NomadResources
	if r == nil || r.Memory.MemoryMaxMB <= r.Memory.MemoryMB {
		return 0
	}
	return uint64(r.Memory.MemoryMB) << 20
}

// legacyMemoryAlign is the alignment of a legacy LKL guest's memory size in
// bytes. The guest's allocator takes all memory, including the stack's pages at
// the top, and hands out the smallest free pieces first. Any other size has such
// pieces at the top, and the guest overwrites its own stack. (Measured with
// Solo5 0.6.4: guests of 507 and 510 MiB fault, those of 496 and 512 do not.)
const legacyMemoryAlign = 16 << 20

// A memoryLayout says how a task's limit becomes the guest's memory. Both are in bytes.
type memoryLayout struct {
	align   uint64 // of the size of the guest's memory
	reserve uint64 // for the other processes of the task
}

func (k kernelInfo) memoryLayout() memoryLayout {
	l := memoryLayout{align: unikernel.PageSize, reserve: executorMemory}
	if k.flavor == unikernel.FlavorLKL && !k.supports(unikernel.FeatureMemory) {
		l.align = legacyMemoryAlign
	}
	if k.hasLiveFiles() {
		l.reserve += serverMemory
	}
	return l
}

// guest returns the size of the guest's memory for a task's limit, both in bytes.
func (l memoryLayout) guest(limit uint64) uint64 {
	overhead := l.reserve + limit/pageTableShare
	if limit <= overhead {
		return 0
	}
	return (limit - overhead) &^ (l.align - 1)
}

// limitFor returns the smallest limit in MiB that leaves the given memory to the
// guest.
func (l memoryLayout) limitFor(guest uint64) uint64 {
	mib := guest >> 20
	for l.guest(mib<<20) < guest {
		mib++
	}
	return mib
}

// linuxHeap is the memory in bytes that a Linux guest needs besides its image to start a small
// program. (Measured: a kernel of 5.4 MiB starts in 9 MiB, panics in 7, and has no memory for
// the program's stack in 8.)
const linuxHeap = 4 << 20

// checkMemory checks that the limit leaves enough memory for the kernel.
func (k kernelInfo) checkMemory(limit uint64) error {
	layout, need := k.memoryLayout(), k.elf.End+unikernel.MinHeap
	legacy := layout.align == legacyMemoryAlign
	switch {
	case legacy:
		need = max(need, k.elf.MinMemory())
	case k.supports(unikernel.FeatureMemory):
		need = k.elf.End + linuxHeap
	}
	memory := layout.guest(limit)
	if memory >= need {
		return k.elf.Fits(memory)
	}
	rounded := ""
	if legacy {
		rounded = ", rounded down to a multiple of 16 MiB for a legacy LKL guest"
	}
	overhead := limit - memoryLayout{unikernel.PageSize, layout.reserve}.guest(limit)
	return fmt.Errorf("the limit of %d MiB leaves %d KiB for the guest (%d KiB are reserved for %s and page tables%s), "+
		"but the kernel needs %d KiB with heap and stack: set memory to at least %d",
		limit>>20, memory>>10, overhead>>10, layout.processes(), rounded, need>>10, layout.limitFor(need))
}

// processes names the other processes of the task.
func (l memoryLayout) processes() string {
	if l.reserve > executorMemory {
		return "executor, file server"
	}
	return "executor"
}
