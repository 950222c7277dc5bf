// SPDX-License-Identifier: MPL-2.0

package spt

// Guest memory, in bytes. A guest address is the process's address.
const (
	pageSize = 0x1000
	// guestBase is where guest memory begins; what is below is not mapped
	// (Solo5: SPT_HOST_MEM_BASE).
	guestBase = 0x10000
	// bootBase is where the guest finds what the tender tells it (Solo5:
	// SPT_BOOT_INFO_BASE).
	bootBase = 0x11000
	// scratchBase is where the launcher keeps its table and what that points
	// at, until it wipes them: beyond the largest boot information and below
	// the lowest address of a segment. The words before it are its stack.
	scratchBase = 0x15000
	scratchEnd  = 0x100000
	// launcherBase is far above any guest: it bounds the guest's memory.
	launcherBase = 1 << 40
	// taskEnd is the end of what a process can map without asking for more
	// (47 bits less a page: TASK_SIZE of asm/page_64_types.h).
	taskEnd = 1<<47 - pageSize
)

// Descriptors of the guest's process. 0 and 2 are closed.
const (
	fdConsole = 1
	fdEpoll   = 3
	fdTimer   = 4
	fdDevice  = 5 // and up: the devices in the manifest's order
)

// Descriptors that follow the last device's, until they are closed.
const (
	fdStatus   = iota // reports a failure, or that the guest begins
	fdKernel          // the kernel file
	fdData            // boot information, table, filter
	fdLauncher        // the launcher's ELF
	fdCount
)
