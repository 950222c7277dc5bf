// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/taskmemory"
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

// memory returns how the limit of a task with this kernel becomes the guest's memory.
func (k kernelInfo) memory() taskmemory.Division { return taskmemory.Divide(k.elf, k.flavor) }

// checkMemory checks that the limit leaves enough memory for the kernel.
func (k kernelInfo) checkMemory(limit uint64) error {
	division := k.memory()
	memory := division.Guest(limit)
	if memory >= division.Need {
		return k.elf.Fits(memory)
	}
	processes, rounded := "executor", ""
	if division.Server {
		processes = "executor, file server"
	}
	if division.Legacy {
		rounded = ", rounded down to a multiple of 16 MiB for a legacy LKL guest"
	}
	return fmt.Errorf("the limit of %d MiB leaves %d KiB for the guest (%d KiB are reserved for %s and page tables%s), "+
		"but the kernel needs %d KiB with heap and stack: set memory to at least %d, and more for the program's own data",
		limit>>20, memory>>10, division.Overhead(limit)>>10, processes, rounded, division.Need>>10, division.MinLimit()>>20)
}
