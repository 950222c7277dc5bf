// SPDX-License-Identifier: MPL-2.0

package spt

// The address space of the guest's process. A guest address is an address of the
// process.
const (
	pageSize = 0x1000
	// guestBase is the start of the guest's memory. Addresses below are not
	// mapped (Solo5: SPT_HOST_MEM_BASE).
	guestBase = 0x10000
	// bootBase is the address of the boot information (Solo5:
	// SPT_BOOT_INFO_BASE).
	bootBase = 0x11000
	// scratchBase is the address of the launcher's table and its data. The
	// launcher clears them before the guest begins. They are above the largest
	// boot information and below the lowest segment. The launcher's stack grows
	// down from scratchBase.
	scratchBase = 0x15000
	scratchEnd  = 0x100000
	// launcherBase is the address of the launcher's page, and a limit of the
	// guest's memory.
	launcherBase = 1 << 40
	// taskEnd is the highest address that mmap(2) uses without a hint: 47 bits
	// minus a page (TASK_SIZE of asm/page_64_types.h).
	taskEnd = 1<<47 - pageSize
)

// Descriptors of the guest's process. 0 is closed, and 2 without tender.Guest.Stderr.
const (
	fdConsole = 1
	fdStderr  = 2
	fdEpoll   = 3
	fdTimer   = 4
	fdDevice  = 5 // the first device; the others follow in the manifest's order
)

// Descriptors of the launcher, counted from the one after the last device. The
// launcher closes them.
const (
	fdStatus      = iota // the launcher reports failure or success here
	fdKernel             // the kernel file
	fdData               // boot information, table, filter
	fdCommandLine        // a long command line; otherwise closed
	fdLauncher           // the launcher's ELF file
)
