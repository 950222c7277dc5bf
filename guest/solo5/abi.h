/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The binary interface between tender and guest: Solo5's ABI version 2, x86-64.
 */
#ifndef SOLO5_ABI_H
#define SOLO5_ABI_H

/* Contents of the ABI note. */
#define ABI_TARGET_HVT 1
#define ABI_TARGET_SPT 2
#define ABI_VERSION 2

/* hvt: hypercall n is a 32-bit OUT to port HVT_PORT + n. */
#define HVT_PORT 0x500

#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stdint.h>

/* The manifest, as the tender passes it to the guest. Entry 0 is reserved. */
#define MFT_ENTRIES 64
#define MFT_NAME_SIZE 68

struct mft_entry {
	char name[MFT_NAME_SIZE];
	uint32_t type;			/* enum solo5_device_type */
	union {
		struct {
			uint64_t capacity;
			uint16_t block_size;
		} block;
		struct {
			uint8_t mac[6];
			uint16_t mtu;
		} net;
	};
	union {
		int32_t hostfd;		/* spt */
		uint64_t host;		/* opaque to the guest */
	};
	bool attached;
};

struct mft {
	uint32_t version;
	uint32_t entries;
	struct mft_entry e[];
};

_Static_assert(sizeof(struct mft_entry) == 104, "manifest entry");
_Static_assert(__builtin_offsetof(struct mft_entry, block) == 72, "union");
_Static_assert(__builtin_offsetof(struct mft_entry, hostfd) == 88, "hostfd");
_Static_assert(__builtin_offsetof(struct mft_entry, attached) == 96, "attached");
_Static_assert(sizeof(struct mft) == 8, "manifest header");

/* Boot information. rdi points to it at the entry. */
struct spt_boot_info {
	uint64_t mem_size;
	uint64_t kernel_end;
	const char *cmdline;
	const struct mft *mft;
	int32_t epollfd;
	int32_t timerfd;
};

struct hvt_boot_info {
	uint64_t mem_size;
	uint64_t kernel_end;
	uint64_t cpu_cycle_freq;	/* TSC, Hz */
	const char *cmdline;
	const struct mft *mft;
};

/* hvt: the hypercalls and their arguments. */
enum {
	HVT_WALLTIME = 1,
	HVT_PUTS,
	HVT_POLL,
	HVT_BLOCK_WRITE,
	HVT_BLOCK_READ,
	HVT_NET_WRITE,
	HVT_NET_READ,
	HVT_HALT
};

struct hvt_walltime {
	uint64_t nsecs;
};

struct hvt_puts {
	const char *data;
	uint64_t len;
};

struct hvt_poll {
	uint64_t timeout_nsecs;
	uint64_t ready_set;
	int32_t ret;
};

struct hvt_block {
	uint64_t handle;
	uint64_t offset;
	const void *data;
	uint64_t len;
	int32_t ret;
};

struct hvt_net {
	uint64_t handle;
	const void *data;
	uint64_t len;
	int32_t ret;
};

struct hvt_halt {
	void *cookie;
	int32_t exit_status;
};

#endif
#endif
