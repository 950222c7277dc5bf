/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The spt target: the guest is a Linux process whose seccomp filter allows nine
 * system calls, and fdatasync for disks that it may flush. Any other call kills
 * the guest, so these functions check their arguments first.
 */
#include "internal.h"

/* System call numbers and other constants of Linux on x86-64. */
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
#define STDERR 2

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

/* The arguments of solo5_block_offer. Zero means the plain ABI. */
struct offer {
	size_t transfer;
	bool flush;
};

static int epollfd;
static int timerfd;
static struct offer offers[MFT_ENTRIES];
/* The deadline that timerfd was last set to. */
static solo5_time_t timer_deadline = NEVER;

static long syscall5(long nr, long a1, long a2, long a3, long a4, long a5)
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
		syscall5(SYS_EXIT_GROUP, status, 0, 0, 0, 0);
}

void solo5_abort(void)
{
	solo5__print("solo5: abort\n");
	solo5_exit(SOLO5_EXIT_ABORT);
}

solo5_result_t solo5_set_tls_base(uintptr_t base)
{
	return syscall5(SYS_ARCH_PRCTL, ARCH_SET_FS, (long)base, 0, 0, 0) == 0 ?
		SOLO5_R_OK : SOLO5_R_EINVAL;
}

/*
 * A system call with the filter takes about a quarter of a microsecond. Reading
 * the TSC would be ten times faster, but the ABI of spt lacks its frequency.
 */
static solo5_time_t read_clock(int clock)
{
	struct timespec ts;

	syscall5(SYS_CLOCK_GETTIME, clock, (long)&ts, 0, 0, 0);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

solo5_time_t solo5_clock_monotonic(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

solo5_time_t solo5_clock_wall(void)
{
	return read_clock(CLOCK_REALTIME);
}

static void set_timer(solo5_time_t deadline)
{
	struct itimerspec its = {
		.it_value = { (int64_t)(deadline / NSEC_PER_SEC),
			      (int64_t)(deadline % NSEC_PER_SEC) },
	};

	syscall5(SYS_TIMERFD_SETTIME, timerfd, TFD_TIMER_ABSTIME, (long)&its, 0, 0);
	timer_deadline = deadline;
}

void solo5_yield(solo5_time_t deadline, solo5_handle_set_t *ready_set)
{
	struct epoll_event events[MFT_ENTRIES];
	solo5_handle_set_t ready = 0;
	int timeout = -1;
	long n;

	/* An expired timer stays readable, so an equal deadline needs no call. */
	if (deadline == 0)
		timeout = 0;
	else if (deadline != timer_deadline)
		set_timer(deadline);
	do {
		n = syscall5(SYS_EPOLL_PWAIT, epollfd, (long)events, MFT_ENTRIES,
			 timeout, 0);
	} while (n == -EINTR);
	for (long i = 0; i < n; i++)
		if (events[i].data != TIMER_EVENT)
			ready |= 1UL << events[i].data;
	if (ready_set)
		*ready_set = ready;
}

static void write_output(int fd, const char *buf, size_t size)
{
	while (size > 0) {
		long n = syscall5(SYS_WRITE, fd, (long)buf, (long)size, 0, 0);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return;
		buf += n;
		size -= (size_t)n;
	}
}

void solo5_console_write(const char *buf, size_t size)
{
	write_output(STDOUT, buf, size);
}

void solo5_stderr_write(const char *buf, size_t size)
{
	write_output(STDERR, buf, size);
}

solo5_result_t solo5_net_write(solo5_handle_t handle, const uint8_t *buf,
			       size_t size)
{
	const struct mft_entry *e = solo5__entry(handle, SOLO5_DEVICE_NET);
	long n;

	if (!e || !solo5__net_fits(handle, e, size))
		return SOLO5_R_EINVAL;
	do {
		n = syscall5(SYS_WRITE, e->hostfd, (long)buf, (long)size, 0, 0);
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
		n = syscall5(SYS_READ, e->hostfd, (long)buf, (long)size, 0, 0);
	} while (n == -EINTR);
	if (n == -EAGAIN)
		return SOLO5_R_AGAIN;
	if (n < 0)
		return SOLO5_R_EUNSPEC;
	*read_size = (size_t)n;
	return n == 0 ? SOLO5_R_AGAIN : SOLO5_R_OK;
}

/* Transfers as many bytes a system call as the filter allows. */
static solo5_result_t transfer_blocks(long nr, solo5_handle_t handle,
				      solo5_off_t offset, uintptr_t buf,
				      size_t size)
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
			n = syscall5(nr, e->hostfd, (long)(buf + done), (long)part,
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
	return transfer_blocks(SYS_PWRITE64, handle, offset, (uintptr_t)buf,
			       size);
}

solo5_result_t solo5_block_read(solo5_handle_t handle, solo5_off_t offset,
				uint8_t *buf, size_t size)
{
	return transfer_blocks(SYS_PREAD64, handle, offset, (uintptr_t)buf,
			       size);
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
		n = syscall5(SYS_FDATASYNC, e->hostfd, 0, 0, 0, 0);
	} while (n == -EINTR);
	return n == 0 ? SOLO5_R_OK : SOLO5_R_EUNSPEC;
}
