// SPDX-License-Identifier: MPL-2.0

// Package taskmemory divides a task's memory limit between the guest and the other
// processes of the task.
package taskmemory

import "github.com/lkl-nomad/nomad-driver-lkl/unikernel"

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

// legacyAlign is the alignment of a legacy LKL guest's memory size in
// bytes. The guest's allocator takes all memory, including the stack's pages at
// the top, and hands out the smallest free pieces first. Any other size has such
// pieces at the top, and the guest overwrites its own stack. (Measured with
// Solo5 0.6.4: guests of 507 and 510 MiB fault, those of 496 and 512 do not.)
const legacyAlign = 16 << 20

// linuxHeap is the memory in bytes that a Linux guest needs besides its image to start a small
// program. (Measured: a kernel of 5.4 MiB starts in 9 MiB, panics in 7, and has no memory for
// the program's stack in 8.)
const linuxHeap = 4 << 20

// A Division says how a task's limit becomes the guest's memory. Sizes are in bytes.
type Division struct {
	// Need is the smallest memory of the guest that the driver accepts. The program
	// needs more.
	Need uint64
	// Server reports that the task has a file server, for live directories.
	Server bool
	// Legacy reports that the guest's memory is a multiple of 16 MiB.
	Legacy bool
}

// Divide returns the division for a kernel that runs with this flavor. A guest that
// supports live directories always has them.
func Divide(elf *unikernel.Info, flavor unikernel.Flavor) Division {
	linux := flavor == unikernel.FlavorLKL
	d := Division{
		Need:   elf.End + unikernel.MinHeap,
		Server: linux && elf.Features.Has(unikernel.LiveFeatures),
		Legacy: linux && !elf.Features.Has(unikernel.FeatureMemory),
	}
	switch {
	case d.Legacy:
		d.Need = max(d.Need, elf.MinMemory())
	case linux:
		d.Need = elf.End + linuxHeap
	}
	return d
}

// Overhead returns the part of a limit that the guest cannot have, besides the rest
// of a legacy LKL guest's last multiple.
func (d Division) Overhead(limit uint64) uint64 {
	d.Legacy = false
	return limit - d.Guest(limit)
}

// Guest returns the size of the guest's memory for a task's limit.
func (d Division) Guest(limit uint64) uint64 {
	overhead, align := executorMemory+limit/pageTableShare, uint64(unikernel.PageSize)
	if d.Server {
		overhead += serverMemory
	}
	if d.Legacy {
		align = legacyAlign
	}
	if limit <= overhead {
		return 0
	}
	return (limit - overhead) &^ (align - 1)
}

// MinLimit returns the smallest limit that the driver accepts. It is a multiple of 1 MiB,
// as in a job.
func (d Division) MinLimit() uint64 {
	const mib = 1 << 20
	limit := d.Need &^ (mib - 1)
	for d.Guest(limit) < d.Need {
		limit += mib
	}
	return limit
}
