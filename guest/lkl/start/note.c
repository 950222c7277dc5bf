/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The ELF note by which a unikernel says what it understands beyond the LKL guests of 2020; docs/guests.md has the list.
 * A bit never changes its meaning. A guest that no longer understands a thing leaves its bit out; more than 32 take further
 * words at the end. The linker script gives the note a PT_NOTE of its own, where Solo5's tenders pass over it.
 */
#include <stdint.h>

enum {
	CONFIG = 1 << 0,	/* flavour lkl's command line; unknown keys of --config are not fatal */
	MEMORY = 1 << 1,	/* any size of memory, in pages, with no word about it */
	PROGRAM = 1 << 2,	/* workdir, uid, gid */
	OFFLOAD = 1 << 3,	/* an interface's offload */
	TRANSFER = 1 << 4,	/* a disk's transfer, under spt */
	FLUSH = 1 << 5,		/* a disk's flush, under spt */
	FSGSBASE = 1 << 6	/* fsgsbase, under spt */
};

#define OWNER "nomad-driver-lkl"
#define TYPE 0x314c4b4c /* "LKL1" */

static const struct {
	uint32_t name_size, size, type;
	char name[(sizeof(OWNER) + 3) / 4 * 4];
	uint32_t features;
} note __attribute__((section(".note.lkl"), used, aligned(4))) = {
	sizeof(OWNER), sizeof(note.features), TYPE, OWNER,
	CONFIG | MEMORY | PROGRAM | OFFLOAD | TRANSFER | FLUSH | FSGSBASE
};
