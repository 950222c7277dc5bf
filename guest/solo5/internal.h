/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What the parts of the bindings share. Names begin solo5__ so that they clash
 * with nothing in a unikernel; nothing here needs a C library.
 */
#ifndef SOLO5_INTERNAL_H
#define SOLO5_INTERNAL_H

#include <solo5.h>
#include <solo5_devices.h>

#include "abi.h"

#ifndef __x86_64__
#error "the bindings are for x86-64 only"
#endif

/* Bytes of an Ethernet header, which an MTU does not count. */
#define ETHERNET_HEADER 14

/* Runs the application and ends the guest with its result. */
SOLO5_NORETURN void solo5__start(const char *cmdline, uint64_t mem_size,
				 uint64_t kernel_end, const struct mft *mft);

/* The manifest's entry of a handle if it is of this type, else null. */
const struct mft_entry *solo5__entry(solo5_handle_t handle, uint32_t type);

/* Whether a frame of this size may be sent by this entry, the handle's. */
bool solo5__net_fits(solo5_handle_t handle, const struct mft_entry *e,
		     size_t size);

/* Whether a transfer is of whole blocks inside the device. */
bool solo5__block_range(const struct mft_entry *e, solo5_off_t offset,
			size_t size);

/* Writes a string to the console. */
void solo5__say(const char *text);

#endif
