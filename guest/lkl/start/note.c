/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The ELF note by which a unikernel states which features it has that legacy LKL
 * guests lack; docs/guest-reference.md lists them. A bit never changes its meaning.
 * A guest that loses a feature clears its bit. The second word is for more than 32
 * features. Further words give the addresses that a feature needs. The linker script
 * gives the note its own PT_NOTE, which Solo5's tenders ignore.
 */
#include <stdint.h>

#include <asm/lkl.h>

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
	OUTPUT = 1 << 11,	/* the keys argv0, stdout_tty, stderr_tty; stderr under spt */
	PREEMPT = 1 << 12	/* SIGVTALRM may interrupt the guest at any time, under spt */
};

#define OWNER "nomad-driver-lkl"
#define TYPE 0x314c4b4c /* "LKL1" */

/* For PREEMPT: the handler, and the stack that it runs on. */
struct preempt {
	void (*handler)(void);
	char *stack;
	uint64_t stack_size;
};

static const struct {
	uint32_t name_size, size, type;
	char name[(sizeof(OWNER) + 3) / 4 * 4];
	uint32_t features[2];
	struct preempt preempt;
} __attribute__((packed)) note __attribute__((section(".note.lkl"), used, aligned(4))) = {
	sizeof(OWNER), 2 * sizeof(uint32_t) + sizeof(struct preempt), TYPE, OWNER,
	{ CONFIG | MEMORY | PROGRAM | OFFLOAD | TRANSFER | FLUSH | FSGSBASE | NETWORK |
	  DEVICES | COMMANDLINE | FILES | OUTPUT | PREEMPT },
	{ lkl_preempt, lkl_signal_stack, LKL_SIGNAL_STACK_SIZE }
};
