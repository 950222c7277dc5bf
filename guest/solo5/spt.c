/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The spt target: the guest is a Linux process whose seccomp filter leaves it
 * nine system calls, and one more for disks that may be flushed. A call outside
 * of the filter kills the guest, so arguments are checked here first.
 */
#include "internal.h"

/* Linux, x86-64: numbers of system calls, errors, constants. */
enum {
	SYS_READ = 0,
	SYS_WRITE = 1,
	SYS_PREAD64 = 17,
	SYS_PWRITE64 = 18,
	SYS_FDATASYNC = 75,
	SYS_ARCH_PRCTL = 158,
	SYS_CLOCK_GETTIME = 228,
	SYS_EXIT_GROUP = 231,
	SYS_EPOLL_PWAIT = 281,
	SYS_TIMERFD_SETTIME = 286
};

#define EINTR 4
#define EAGAIN 11
#define ARCH_SET_FS 0x1002
#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1
#define TFD_TIMER_ABSTIME 1
#define STDOUT 1

#define NSEC_PER_SEC 1000000000UL
#define NEVER UINT64_MAX

struct timespec {
	int64_t tv_sec;
	int64_t tv_nsec;
};

struct itimerspec {
	struct timespec it_interval;
	struct timespec it_value;
};

struct epoll_event {
	uint32_t events;
	uint64_t data;		/* a handle, or TIMER_EVENT */
} __attribute__((packed));

#define TIMER_EVENT 0xfffffffeUL

/* What the tender offers for a block device beyond the ABI; zero: nothing. */
struct offer {
	size_t transfer;
	bool flush;
};

static int epollfd;
static int timerfd;
static struct offer offers[MFT_ENTRIES];
/* When the timer fires or has fired. */
static solo5_time_t armed = NEVER;

static long call(long nr, long a1, long a2, long a3, long a4, long a5)
{
	long ret;
	register long r10 __asm__("r10") = a4;
	register long r8 __asm__("r8") = a5;
	register long r9 __asm__("r9") = 0;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a1), "S"(a2), "d"(a3), "r"(r10),
			   "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

SOLO5_NORETURN void solo5__spt_start(const struct spt_boot_info *bi)
{
	epollfd = bi->epollfd;
	timerfd = bi->timerfd;
	solo5__start(bi->cmdline, bi->mem_size, bi->kernel_end, bi->mft);
}

const char *solo5_target(void)
{
	return "spt";
}

void solo5_exit(int status)
{
	for (;;)
		call(SYS_EXIT_GROUP, status, 0, 0, 0, 0);
}

void solo5_abort(void)
{
	solo5__say("solo5: abort\n");
	solo5_exit(SOLO5_EXIT_ABORT);
}

solo5_result_t solo5_set_tls_base(uintptr_t base)
{
	return call(SYS_ARCH_PRCTL, ARCH_SET_FS, (long)base, 0, 0, 0) == 0 ?
		SOLO5_R_OK : SOLO5_R_EINVAL;
}

/*
 * A system call through the filter, about a quarter of a microsecond. The TSC
 * would be ten times cheaper, but spt does not tell the guest its frequency.
 */
static solo5_time_t now(int clock)
{
	struct timespec ts;

	call(SYS_CLOCK_GETTIME, clock, (long)&ts, 0, 0, 0);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

solo5_time_t solo5_clock_monotonic(void)
{
	return now(CLOCK_MONOTONIC);
}

solo5_time_t solo5_clock_wall(void)
{
	return now(CLOCK_REALTIME);
}

static void arm(solo5_time_t deadline)
{
	struct itimerspec its = {
		.it_value = { (int64_t)(deadline / NSEC_PER_SEC),
			      (int64_t)(deadline % NSEC_PER_SEC) },
	};

	call(SYS_TIMERFD_SETTIME, timerfd, TFD_TIMER_ABSTIME, (long)&its, 0, 0);
	armed = deadline;
}

void solo5_yield(solo5_time_t deadline, solo5_handle_set_t *ready_set)
{
	struct epoll_event events[MFT_ENTRIES];
	solo5_handle_set_t ready = 0;
	int timeout = -1;
	long n;

	/* The timer stays readable once it has fired: the same again is armed. */
	if (deadline == 0)
		timeout = 0;
	else if (deadline != armed)
		arm(deadline);
	do {
		n = call(SYS_EPOLL_PWAIT, epollfd, (long)events, MFT_ENTRIES,
			 timeout, 0);
	} while (n == -EINTR);
	for (long i = 0; i < n; i++)
		if (events[i].data != TIMER_EVENT)
			ready |= 1UL << events[i].data;
	if (ready_set)
		*ready_set = ready;
}

void solo5_console_write(const char *buf, size_t size)
{
	while (size > 0) {
		long n = call(SYS_WRITE, STDOUT, (long)buf, (long)size, 0, 0);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return;
		buf += n;
		size -= (size_t)n;
	}
}

solo5_result_t solo5_net_write(solo5_handle_t handle, const uint8_t *buf,
			       size_t size)
{
	const struct mft_entry *e = solo5__entry(handle, SOLO5_DEVICE_NET);
	long n;

	if (!e || !solo5__net_fits(handle, e, size))
		return SOLO5_R_EINVAL;
	do {
		n = call(SYS_WRITE, e->hostfd, (long)buf, (long)size, 0, 0);
	} while (n == -EINTR);
	if (n == -EAGAIN)
		return SOLO5_R_AGAIN;
	return n == (long)size ? SOLO5_R_OK : SOLO5_R_EUNSPEC;
}

solo5_result_t solo5_net_read(solo5_handle_t handle, uint8_t *buf, size_t size,
			      size_t *read_size)
{
	const struct mft_entry *e = solo5__entry(handle, SOLO5_DEVICE_NET);
	long n;

	if (!e)
		return SOLO5_R_EINVAL;
	do {
		n = call(SYS_READ, e->hostfd, (long)buf, (long)size, 0, 0);
	} while (n == -EINTR);
	if (n == -EAGAIN || n == 0)
		return SOLO5_R_AGAIN;
	if (n < 0)
		return SOLO5_R_EUNSPEC;
	*read_size = (size_t)n;
	return SOLO5_R_OK;
}

/* In as few calls as the filter allows. */
static solo5_result_t transfer(long nr, solo5_handle_t handle,
			       solo5_off_t offset, uintptr_t buf, size_t size)
{
	const struct mft_entry *e = solo5__entry(handle, SOLO5_DEVICE_BLOCK);
	size_t part;

	if (!e || !solo5__block_range(e, offset, size))
		return SOLO5_R_EINVAL;
	part = offers[handle].transfer;
	if (part == 0)
		part = e->block.block_size;
	for (size_t done = 0; done < size; done += part) {
		long n;

		if (part > size - done)
			part = size - done;
		do {
			n = call(nr, e->hostfd, (long)(buf + done), (long)part,
				 (long)(offset + done), 0);
		} while (n == -EINTR);
		if (n != (long)part)
			return SOLO5_R_EUNSPEC;
	}
	return SOLO5_R_OK;
}

solo5_result_t solo5_block_write(solo5_handle_t handle, solo5_off_t offset,
				 const uint8_t *buf, size_t size)
{
	return transfer(SYS_PWRITE64, handle, offset, (uintptr_t)buf, size);
}

solo5_result_t solo5_block_read(solo5_handle_t handle, solo5_off_t offset,
				uint8_t *buf, size_t size)
{
	return transfer(SYS_PREAD64, handle, offset, (uintptr_t)buf, size);
}

solo5_result_t solo5_block_offer(solo5_handle_t handle, size_t transfer,
				 bool flush)
{
	const struct mft_entry *e = solo5__entry(handle, SOLO5_DEVICE_BLOCK);

	if (!e || transfer % e->block.block_size != 0)
		return SOLO5_R_EINVAL;
	offers[handle] = (struct offer){ transfer, flush };
	return SOLO5_R_OK;
}

solo5_result_t solo5_block_flush(solo5_handle_t handle)
{
	const struct mft_entry *e = solo5__entry(handle, SOLO5_DEVICE_BLOCK);
	long n;

	if (!e || !offers[handle].flush)
		return SOLO5_R_EINVAL;
	do {
		n = call(SYS_FDATASYNC, e->hostfd, 0, 0, 0, 0);
	} while (n == -EINTR);
	return n == 0 ? SOLO5_R_OK : SOLO5_R_EUNSPEC;
}
