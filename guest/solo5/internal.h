/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Declarations shared by the parts of the bindings. The prefix solo5__ keeps the
 * names from colliding with a unikernel's. The bindings need no C library.
 */
#ifndef SOLO5_INTERNAL_H
#define SOLO5_INTERNAL_H

#include <solo5.h>
#include <solo5_devices.h>

#include "abi.h"

#ifndef __x86_64__
#error "the bindings support only x86-64"
#endif

/* The size of an Ethernet header, which an MTU does not include. */
#define ETHERNET_HEADER 14

/* Runs the application, and ends the guest with its result. */
SOLO5_NORETURN void solo5__start(const char *cmdline, uint64_t mem_size,
				 uint64_t kernel_end, const struct mft *mft);

/* Returns the manifest's entry for a handle, or NULL if its type differs. */
const struct mft_entry *solo5__entry(solo5_handle_t handle, uint32_t type);

/* Returns whether the device, whose entry is e, may send a frame of this size. */
bool solo5__net_fits(solo5_handle_t handle, const struct mft_entry *e,
		     size_t size);

/* Returns whether a transfer consists of whole blocks inside the device. */
bool solo5__block_range(const struct mft_entry *e, solo5_off_t offset,
			size_t size);

/* Writes a string to the console. */
void solo5__print(const char *text);

#endif
