/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_SOLO5_H
#define _ASM_LKL_SOLO5_H

/* The Solo5 interface in the kernel's types. guest/solo5/include documents it. */
#include <linux/types.h>

enum { SOLO5_R_OK, SOLO5_R_AGAIN, SOLO5_R_EINVAL, SOLO5_R_EUNSPEC };
enum { SOLO5_DEVICE_BLOCK = 1, SOLO5_DEVICE_NET = 2 };
#define SOLO5_NEVER U64_MAX

struct solo5_device {
	const char *name;
	unsigned int type;
	union {
		struct {
			u64 capacity, block_size;
		} block;
		struct {
			u8 mac[6];
			size_t mtu;
		} net;
	};
};

void solo5_exit(int status) __noreturn;
void solo5_console_write(const char *buf, size_t size);
void solo5_stderr_write(const char *buf, size_t size);
u64 solo5_clock_monotonic(void);
u64 solo5_clock_wall(void);
void solo5_yield(u64 deadline, u64 *ready);
int solo5_set_tls_base(unsigned long base);
int solo5_net_read(u64 handle, u8 *buf, size_t size, size_t *len);
int solo5_net_write(u64 handle, const u8 *buf, size_t size);
int solo5_net_set_longest(u64 handle, size_t size);
int solo5_block_read(u64 handle, u64 offset, u8 *buf, size_t size);
int solo5_block_write(u64 handle, u64 offset, const u8 *buf, size_t size);
int solo5_block_offer(u64 handle, size_t transfer, bool flush);
int solo5_block_flush(u64 handle);
unsigned int solo5_device_count(void);
int solo5_device(u64 handle, struct solo5_device *device);

#endif
