/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The Solo5 interface as a unikernel sees it: names and meanings of the public
 * Solo5 API, ABI version 2. Everything is single threaded and nothing here
 * allocates. The x86-64 targets are spt (a process under seccomp) and hvt (KVM).
 */
#ifndef SOLO5_H
#define SOLO5_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define SOLO5_NORETURN __attribute__((noreturn))
#else
#define SOLO5_NORETURN _Noreturn
#endif

typedef enum {
	SOLO5_R_OK = 0,		/* done */
	SOLO5_R_AGAIN,		/* nothing to read, or no room to write, now */
	SOLO5_R_EINVAL,		/* an argument is wrong */
	SOLO5_R_EUNSPEC		/* the host failed; nothing more is known */
} solo5_result_t;

/* A device: its index in the manifest, from 1 to 63. */
typedef uint64_t solo5_handle_t;
/* A set of devices: bit 1 << handle. */
typedef uint64_t solo5_handle_set_t;
/* Nanoseconds. */
typedef uint64_t solo5_time_t;
/* Bytes from the start of a block device. */
typedef uint64_t solo5_off_t;

/* ---- start and end ---- */

struct solo5_start_info {
	const char *cmdline;	/* without the leading --solo5:… words */
	uintptr_t heap_start;	/* page aligned; zeroed; not executable */
	size_t heap_size;	/* bytes; the stack lies above the heap */
};

/*
 * The unikernel's own main. Its result is the exit status, as if given to
 * solo5_exit. info stays valid for good.
 */
int solo5_app_main(const struct solo5_start_info *info);

#define SOLO5_EXIT_SUCCESS 0
#define SOLO5_EXIT_FAILURE 1
#define SOLO5_EXIT_ABORT 255

/* Ends the guest. The host keeps the low 8 bits of status. */
SOLO5_NORETURN void solo5_exit(int status);

/* Ends the guest with SOLO5_EXIT_ABORT and says so on the console. */
SOLO5_NORETURN void solo5_abort(void);

/* Sets the base of %fs, which thread-local storage is addressed by. */
solo5_result_t solo5_set_tls_base(uintptr_t base);

/* ---- time ---- */

/* Time since some moment before the start; never goes back. */
solo5_time_t solo5_clock_monotonic(void);

/* Time since 1970-01-01 00:00 UTC, as the host has it now. */
solo5_time_t solo5_clock_wall(void);

/*
 * Sleeps until solo5_clock_monotonic() reaches deadline or a network device can
 * be read, and stores the set of those that can, unless ready_set is null.
 * A deadline of 0 only looks, and is the cheapest way to do so; UINT64_MAX waits
 * for a device for ever. It may return early with an empty set.
 */
void solo5_yield(solo5_time_t deadline, solo5_handle_set_t *ready_set);

/* ---- console ---- */

/* Writes to the console. What the host does not take is lost. */
void solo5_console_write(const char *buf, size_t size);

/* ---- network ---- */

struct solo5_net_info {
	uint8_t mac_address[6];
	size_t mtu;		/* bytes after the 14 of the Ethernet header */
};

/* Finds the network device of this name. EINVAL: there is none. */
solo5_result_t solo5_net_acquire(const char *name, solo5_handle_t *handle,
				 struct solo5_net_info *info);

/* Sends one frame, of at most mtu + 14 bytes. AGAIN: the host's queue is full. */
solo5_result_t solo5_net_write(solo5_handle_t handle, const uint8_t *buf,
			       size_t size);

/*
 * Receives one frame. AGAIN: there is none. size should be mtu + 14 or more:
 * what does not fit is lost.
 */
solo5_result_t solo5_net_read(solo5_handle_t handle, uint8_t *buf, size_t size,
			      size_t *read_size);

/* ---- block ---- */

struct solo5_block_info {
	solo5_off_t capacity;	/* bytes, a multiple of block_size */
	solo5_off_t block_size;	/* bytes, the unit of transfers */
};

/* Finds the block device of this name. EINVAL: there is none. */
solo5_result_t solo5_block_acquire(const char *name, solo5_handle_t *handle,
				   struct solo5_block_info *info);

/*
 * Transfer size bytes at offset, both multiples of the block size and inside
 * the device (else EINVAL, and nothing is done). Portable unikernels pass one
 * block; more are transferred one after the other, and when one of them fails
 * the earlier ones stay done. A write is with the host, not on its disk: the
 * interface has no flush (but see solo5_devices.h).
 */
solo5_result_t solo5_block_write(solo5_handle_t handle, solo5_off_t offset,
				 const uint8_t *buf, size_t size);
solo5_result_t solo5_block_read(solo5_handle_t handle, solo5_off_t offset,
				uint8_t *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif
