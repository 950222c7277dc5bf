/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The hvt target: the guest is a virtual machine in 64-bit mode, ring 0,
 * identity mapped, with interrupts off. A hypercall is an OUT of the address of
 * its arguments. Memory ends below 4 GiB, so an address fits in 32 bits.
 */
#include "internal.h"
#include "hvt_cpu.h"

#define NSEC_PER_SEC 1000000000UL
#define MSR_FS_BASE 0xc0000100

/* Nanoseconds per TSC cycle, times 2^32, and the TSC at boot. */
static uint64_t tsc_mult;
static uint64_t tsc_start;

static void hypercall(int nr, volatile void *args)
{
	__asm__ volatile("outl %0, %w1"
			 :
			 : "a"((uint32_t)(uintptr_t)args),
			   "Nd"((uint16_t)(HVT_PORT + nr))
			 : "memory");
}

static uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

SOLO5_NORETURN void solo5__hvt_start(const struct hvt_boot_info *bi)
{
	tsc_start = rdtsc();
	tsc_mult = (NSEC_PER_SEC << 32) / bi->cpu_cycle_freq;
	solo5__cpu_init();
	solo5__start(bi->cmdline, bi->mem_size, bi->kernel_end, bi->mft);
}

const char *solo5_target(void)
{
	return "hvt";
}

void solo5_exit(int status)
{
	volatile struct hvt_halt h = { .exit_status = status };

	for (;;)
		hypercall(HVT_HALT, &h);
}

void solo5_abort(void)
{
	solo5__print("solo5: abort\n");
	solo5_exit(SOLO5_EXIT_ABORT);
}

/* wrfsbase is not available: tenders leave CR4.FSGSBASE clear. */
solo5_result_t solo5_set_tls_base(uintptr_t base)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(MSR_FS_BASE), "a"((uint32_t)base),
			   "d"((uint32_t)(base >> 32))
			 : "memory");
	return SOLO5_R_OK;
}

solo5_time_t solo5_clock_monotonic(void)
{
	unsigned __int128 cycles = rdtsc() - tsc_start;

	return (uint64_t)(cycles * tsc_mult >> 32);
}

solo5_time_t solo5_clock_wall(void)
{
	volatile struct hvt_walltime t = { 0 };

	hypercall(HVT_WALLTIME, &t);
	return t.nsecs;
}

void solo5_yield(solo5_time_t deadline, solo5_handle_set_t *ready_set)
{
	solo5_time_t now = deadline ? solo5_clock_monotonic() : 0;
	volatile struct hvt_poll p = {
		.timeout_nsecs = deadline > now ? deadline - now : 0,
	};

	hypercall(HVT_POLL, &p);
	if (ready_set)
		*ready_set = p.ready_set;
}

void solo5_console_write(const char *buf, size_t size)
{
	volatile struct hvt_puts p = { .data = buf, .len = size };

	hypercall(HVT_PUTS, &p);
}

void solo5_stderr_write(const char *buf, size_t size)
{
	solo5_console_write(buf, size);
}

solo5_result_t solo5_net_write(solo5_handle_t handle, const uint8_t *buf,
			       size_t size)
{
	const struct mft_entry *e = solo5__entry(handle, SOLO5_DEVICE_NET);
	volatile struct hvt_net n = {
		.handle = handle, .data = buf, .len = size,
	};

	if (!e || !solo5__net_fits(handle, e, size))
		return SOLO5_R_EINVAL;
	hypercall(HVT_NET_WRITE, &n);
	return n.ret;
}

solo5_result_t solo5_net_read(solo5_handle_t handle, uint8_t *buf, size_t size,
			      size_t *read_size)
{
	volatile struct hvt_net n = {
		.handle = handle, .data = buf, .len = size,
	};

	if (!solo5__entry(handle, SOLO5_DEVICE_NET))
		return SOLO5_R_EINVAL;
	hypercall(HVT_NET_READ, &n);
	if (n.ret == SOLO5_R_OK)
		*read_size = n.len;
	return n.ret;
}

static solo5_result_t transfer_blocks(int nr, solo5_handle_t handle,
				      solo5_off_t offset, const uint8_t *buf,
				      size_t size)
{
	const struct mft_entry *e = solo5__entry(handle, SOLO5_DEVICE_BLOCK);

	if (!e || !solo5__block_range(e, offset, size))
		return SOLO5_R_EINVAL;
	for (size_t done = 0; done < size; done += e->block.block_size) {
		volatile struct hvt_block b = {
			.handle = handle, .offset = offset + done,
			.data = buf + done, .len = e->block.block_size,
		};

		hypercall(nr, &b);
		if (b.ret != SOLO5_R_OK)
			return b.ret;
	}
	return SOLO5_R_OK;
}

solo5_result_t solo5_block_write(solo5_handle_t handle, solo5_off_t offset,
				 const uint8_t *buf, size_t size)
{
	return transfer_blocks(HVT_BLOCK_WRITE, handle, offset, buf, size);
}

solo5_result_t solo5_block_read(solo5_handle_t handle, solo5_off_t offset,
				uint8_t *buf, size_t size)
{
	return transfer_blocks(HVT_BLOCK_READ, handle, offset, buf, size);
}

/* Solo5's hypercalls transfer one block each and cannot flush. */
solo5_result_t solo5_block_offer(solo5_handle_t handle, size_t transfer,
				 bool flush)
{
	return solo5__entry(handle, SOLO5_DEVICE_BLOCK) && !transfer && !flush ?
		SOLO5_R_OK : SOLO5_R_EINVAL;
}

solo5_result_t solo5_block_flush(solo5_handle_t handle)
{
	(void)handle;
	return SOLO5_R_EINVAL;
}
