/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The ELF note by which a unikernel states which features it has that legacy LKL
 * guests lack; docs/guest-reference.md lists them. A bit never changes its meaning.
 * A guest that loses a feature clears its bit. More than 32 features take further
 * words at the end of the note. The linker script gives the note its own PT_NOTE,
 * which Solo5's tenders ignore.
 */
#include <stdint.h>

enum {
	CONFIG = 1 << 0,	/* the lkl command line; unknown keys of --config are ignored */
	MEMORY = 1 << 1,	/* any memory size that is a multiple of a page; no mem= needed */
	PROGRAM = 1 << 2,	/* the keys workdir, uid and gid */
	OFFLOAD = 1 << 3,	/* the key offload of an interface */
	TRANSFER = 1 << 4,	/* the key transfer of a disk, under spt */
	FLUSH = 1 << 5,		/* the key flush of a disk, under spt */
	FSGSBASE = 1 << 6,	/* the key fsgsbase, under spt */
	NETWORK = 1 << 7,	/* the keys rename and neighbors; an MTU of up to 65535 */
	DEVICES = 1 << 8,	/* devices that the manifest in the file lacks, under spt */
	COMMANDLINE = 1 << 9,	/* a command line at the end of memory, under spt */
	FILES = 1 << 10,	/* mounts of the types hostfs and tmpfs; 64 mounts; under spt */
	OUTPUT = 1 << 11	/* the keys argv0, stdout_tty, stderr_tty; stderr under spt */
};

#define OWNER "nomad-driver-lkl"
#define TYPE 0x314c4b4c /* "LKL1" */

static const struct {
	uint32_t name_size, size, type;
	char name[(sizeof(OWNER) + 3) / 4 * 4];
	uint32_t features;
} note __attribute__((section(".note.lkl"), used, aligned(4))) = {
	sizeof(OWNER), sizeof(note.features), TYPE, OWNER,
	CONFIG | MEMORY | PROGRAM | OFFLOAD | TRANSFER | FLUSH | FSGSBASE | NETWORK |
	DEVICES | COMMANDLINE | FILES | OUTPUT
};
