/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The Solo5 interface for unikernels: names and meanings of the public Solo5 API,
 * ABI version 2. The interface is single-threaded and allocates nothing. The
 * x86-64 targets are spt (a process under seccomp) and hvt (KVM).
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
	SOLO5_R_OK = 0,
	SOLO5_R_AGAIN,		/* would block: try again later */
	SOLO5_R_EINVAL,		/* invalid argument */
	SOLO5_R_EUNSPEC		/* unspecified error of the host */
} solo5_result_t;

/* The index of a device in the manifest, from 1 to 63. */
typedef uint64_t solo5_handle_t;
/* A set of devices. Bit 1 << handle represents a device. */
typedef uint64_t solo5_handle_set_t;
/* Nanoseconds. */
typedef uint64_t solo5_time_t;
/* Bytes from the start of a block device. */
typedef uint64_t solo5_off_t;

/* ---- start and end ---- */

struct solo5_start_info {
	const char *cmdline;	/* without leading --solo5:… options */
	uintptr_t heap_start;	/* page-aligned, zeroed, not executable */
	size_t heap_size;	/* bytes; the stack follows the heap */
};

/*
 * The main function of the unikernel. Its result becomes the exit status, as with
 * solo5_exit. info stays valid until the guest ends.
 */
int solo5_app_main(const struct solo5_start_info *info);

#define SOLO5_EXIT_SUCCESS 0
#define SOLO5_EXIT_FAILURE 1
#define SOLO5_EXIT_ABORT 255

/* Ends the guest. The host sees the low 8 bits of status. */
SOLO5_NORETURN void solo5_exit(int status);

/* Prints a line on the console and ends the guest with SOLO5_EXIT_ABORT. */
SOLO5_NORETURN void solo5_abort(void);

/* Sets the base of %fs, which thread-local storage uses. */
solo5_result_t solo5_set_tls_base(uintptr_t base);

/* ---- time ---- */

/* Time since an unspecified moment before the start. It never decreases. */
solo5_time_t solo5_clock_monotonic(void);

/* The host's time since 1970-01-01 00:00 UTC. */
solo5_time_t solo5_clock_wall(void);

/*
 * Sleeps until solo5_clock_monotonic() reaches deadline or a network device is
 * readable. Stores the set of readable devices unless ready_set is NULL.
 * A deadline of 0 only polls, and is the cheapest way to poll. UINT64_MAX waits
 * without a limit. The function may return early with an empty set.
 */
void solo5_yield(solo5_time_t deadline, solo5_handle_set_t *ready_set);

/* ---- console ---- */

/* Writes to the console. Bytes that the host does not accept are lost. */
void solo5_console_write(const char *buf, size_t size);

/* ---- network ---- */

struct solo5_net_info {
	uint8_t mac_address[6];
	size_t mtu;		/* without the 14 bytes of the Ethernet header */
};

/* Finds a network device by name. EINVAL: no such device. */
solo5_result_t solo5_net_acquire(const char *name, solo5_handle_t *handle,
				 struct solo5_net_info *info);

/* Sends a frame of at most mtu + 14 bytes. AGAIN: the host's queue is full. */
solo5_result_t solo5_net_write(solo5_handle_t handle, const uint8_t *buf,
			       size_t size);

/*
 * Receives a frame. AGAIN: no frame is queued. size should be at least mtu + 14:
 * the rest of a longer frame is lost.
 */
solo5_result_t solo5_net_read(solo5_handle_t handle, uint8_t *buf, size_t size,
			      size_t *read_size);

/* ---- block ---- */

struct solo5_block_info {
	solo5_off_t capacity;	/* bytes, a multiple of block_size */
	solo5_off_t block_size;	/* bytes, the unit of transfers */
};

/* Finds a block device by name. EINVAL: no such device. */
solo5_result_t solo5_block_acquire(const char *name, solo5_handle_t *handle,
				   struct solo5_block_info *info);

/*
 * Transfer size bytes at offset. Both must be multiples of the block size, and
 * the range must lie inside the device; otherwise the result is EINVAL, and no
 * byte is transferred. Portable unikernels transfer one block at a time. With
 * more blocks, an error can leave the first ones transferred. The host may keep
 * written data in its page cache; solo5_devices.h adds a flush.
 */
solo5_result_t solo5_block_write(solo5_handle_t handle, solo5_off_t offset,
				 const uint8_t *buf, size_t size);
solo5_result_t solo5_block_read(solo5_handle_t handle, solo5_off_t offset,
				uint8_t *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif
