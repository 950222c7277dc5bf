/* SPDX-License-Identifier: MPL-2.0 */
/* Invalid pointers in system calls: the call fails with EFAULT. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>

/*
 * Addresses that no program has mapped, natively or in a guest: the first page,
 * the kernel's half of the address space, and non-canonical addresses.
 */
static void *const wrong[] = {
	NULL, (void *)16, (void *)0x7ffffffff000, (void *)0x8000000000000000,
	(void *)0xffffffff80000000, (void *)0xfffffffffffffff0, (void *)-1,
};
#define EACH for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)

/* Bypasses libc, which may itself access the memory. */
#define CALL(...) syscall(__VA_ARGS__)

static void reading(void)
{
	int file = OK(open("file", O_RDWR | O_CREAT, 0666));
	int fd[2], zero = OK(open("/dev/zero", O_RDWR));

	GIVES(write(file, "0123456789", 10), 10);
	OK(pipe(fd));
	GIVES(write(fd[1], "text", 4), 4);
	EACH {
		FAILS(CALL(SYS_pread64, file, wrong[i], 4, 0), EFAULT);
		FAILS(CALL(SYS_read, fd[0], wrong[i], 4), EFAULT);
		FAILS(CALL(SYS_read, zero, wrong[i], 4), EFAULT);
		FAILS(CALL(SYS_pwrite64, file, wrong[i], 4, 0), EFAULT);
		FAILS(CALL(SYS_write, fd[1], wrong[i], 4), EFAULT);
	}
	/* The failed calls have not changed the pipe. */
	GIVES(CALL(SYS_read, fd[0], (char[16]){ 0 }, 16), 4);
}

static void vectors(void)
{
	int fd[2];
	char a[4];
	struct iovec v[2] = { { a, 2 }, { NULL, 2 } };

	OK(pipe(fd));
	GIVES(write(fd[1], "text", 4), 4);
	EACH {
		FAILS(CALL(SYS_readv, fd[0], wrong[i], 1), EFAULT);
		FAILS(CALL(SYS_writev, fd[1], wrong[i], 1), EFAULT);
	}
	v[1].iov_base = (void *)16;
	FAILS(CALL(SYS_readv, fd[0], v + 1, 1), EFAULT);
}

static void paths(void)
{
	struct stat st;
	char text[8];

	EACH {
		FAILS(CALL(SYS_open, wrong[i], O_RDONLY), EFAULT);
		FAILS(CALL(SYS_openat, AT_FDCWD, wrong[i], O_RDONLY), EFAULT);
		FAILS(CALL(SYS_stat, wrong[i], &st), EFAULT);
		FAILS(CALL(SYS_stat, ".", wrong[i]), EFAULT);
		FAILS(CALL(SYS_mkdir, wrong[i], 0777), EFAULT);
		FAILS(CALL(SYS_unlink, wrong[i]), EFAULT);
		FAILS(CALL(SYS_rename, wrong[i], "x"), EFAULT);
		FAILS(CALL(SYS_rename, "x", wrong[i]), EFAULT);
		FAILS(CALL(SYS_chdir, wrong[i]), EFAULT);
		FAILS(CALL(SYS_access, wrong[i], F_OK), EFAULT);
		FAILS(CALL(SYS_readlink, "/proc/self/exe", wrong[i], 10), EFAULT);
		FAILS(CALL(SYS_readlink, wrong[i], text, 8), EFAULT);
		FAILS(CALL(SYS_getcwd, wrong[i], 4096), EFAULT);
		FAILS(CALL(SYS_truncate, wrong[i], 0), EFAULT);
	}
}

static void times(void)
{
	struct timespec t = { 0, 1 };

	EACH {
		/* These calls permit NULL. */
		if (wrong[i]) {
			FAILS(CALL(SYS_gettimeofday, wrong[i], NULL), EFAULT);
			FAILS(CALL(SYS_time, wrong[i]), EFAULT);
			FAILS(CALL(SYS_clock_getres, CLOCK_MONOTONIC, wrong[i]), EFAULT);
		}
		FAILS(CALL(SYS_clock_gettime, CLOCK_MONOTONIC, wrong[i]), EFAULT);
		FAILS(CALL(SYS_nanosleep, wrong[i], NULL), EFAULT);
		FAILS(CALL(SYS_timer_create, CLOCK_MONOTONIC, NULL, wrong[i]), EFAULT);
		FAILS(CALL(SYS_setitimer, ITIMER_REAL, wrong[i] ? wrong[i] : (void *)1, NULL),
		      EFAULT);
		FAILS(CALL(SYS_timerfd_settime, 0, 0, wrong[i], NULL), EFAULT);
	}
	OK(CALL(SYS_nanosleep, &t, NULL));
}

static void signals(void)
{
	EACH {
		if (wrong[i]) {
			FAILS(CALL(SYS_rt_sigaction, SIGUSR1, wrong[i], NULL, 8), EFAULT);
			FAILS(CALL(SYS_rt_sigaction, SIGUSR1, NULL, wrong[i], 8), EFAULT);
			FAILS(CALL(SYS_rt_sigprocmask, SIG_BLOCK, wrong[i], NULL, 8), EFAULT);
			FAILS(CALL(SYS_rt_sigprocmask, SIG_BLOCK, NULL, wrong[i], 8), EFAULT);
			FAILS(CALL(SYS_sigaltstack, wrong[i], NULL), EFAULT);
		}
		FAILS(CALL(SYS_rt_sigpending, wrong[i], 8), EFAULT);
		FAILS(CALL(SYS_rt_sigsuspend, wrong[i], 8), EFAULT);
		FAILS(CALL(SYS_rt_sigtimedwait, wrong[i], NULL, NULL, 8), EFAULT);
		FAILS(CALL(SYS_signalfd4, -1, wrong[i], 8, 0), EFAULT);
	}
	FAILS(CALL(SYS_rt_sigprocmask, SIG_BLOCK, NULL, NULL, 99), EINVAL);
}

static void sockets(void)
{
	int fd = OK(socket(AF_INET, SOCK_DGRAM, 0)), pair[2];

	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	GIVES(write(pair[1], "text", 4), 4);
	EACH {
		FAILS(CALL(SYS_bind, fd, wrong[i], 16), EFAULT);
		FAILS(CALL(SYS_connect, fd, wrong[i], 16), EFAULT);
		FAILS(CALL(SYS_getsockname, fd, wrong[i], wrong[i]), EFAULT);
		FAILS(CALL(SYS_setsockopt, fd, SOL_SOCKET, SO_BROADCAST, wrong[i], 4), EFAULT);
		FAILS(CALL(SYS_getsockopt, fd, SOL_SOCKET, SO_BROADCAST, wrong[i], &(int){ 4 }),
		      EFAULT);
		FAILS(CALL(SYS_sendmsg, fd, wrong[i], 0), EFAULT);
		FAILS(CALL(SYS_recvmsg, fd, wrong[i], 0), EFAULT);
		FAILS(CALL(SYS_sendto, pair[0], wrong[i], 4, 0, NULL, 0), EFAULT);
		FAILS(CALL(SYS_recvfrom, pair[0], wrong[i], 4, 0, NULL, NULL), EFAULT);
		FAILS(CALL(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, wrong[i]), EFAULT);
	}
}

static void descriptors(void)
{
	int epoll = OK(epoll_create1(0)), fd[2];
	struct epoll_event e = { .events = EPOLLIN };

	OK(pipe(fd));
	GIVES(write(fd[1], "x", 1), 1);
	OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd[0], &e));
	EACH {
		FAILS(CALL(SYS_pipe, wrong[i]), EFAULT);
		FAILS(CALL(SYS_poll, wrong[i], 1, 0), EFAULT);
		FAILS(CALL(SYS_epoll_ctl, epoll, EPOLL_CTL_MOD, fd[0], wrong[i]), EFAULT);
		FAILS(CALL(SYS_epoll_wait, epoll, wrong[i], 1, 0), EFAULT);
		FAILS(CALL(SYS_ioctl, fd[0], FIONREAD, wrong[i]), EFAULT);
		FAILS(CALL(SYS_fcntl, fd[0], F_SETLK, wrong[i]), EFAULT);
		FAILS(CALL(SYS_getdents64, OK(open(".", O_RDONLY)), wrong[i], 1024), EFAULT);
		if (wrong[i])
			FAILS(CALL(SYS_select, 1, wrong[i], NULL, NULL, NULL), EFAULT);
	}
}

static void others(void)
{
	EACH {
		FAILS(CALL(SYS_uname, wrong[i]), EFAULT);
		FAILS(CALL(SYS_sysinfo, wrong[i]), EFAULT);
		FAILS(CALL(SYS_getrlimit, RLIMIT_NOFILE, wrong[i]), EFAULT);
		FAILS(CALL(SYS_setrlimit, RLIMIT_NOFILE, wrong[i]), EFAULT);
		FAILS(CALL(SYS_getrusage, RUSAGE_SELF, wrong[i]), EFAULT);
		FAILS(CALL(SYS_getrandom, wrong[i], 16, 0), EFAULT);
		if ((uintptr_t)wrong[i] % 4 == 0)
			FAILS(CALL(SYS_futex, wrong[i], 0, 1, NULL), EFAULT);
		FAILS(CALL(SYS_sched_getaffinity, 0, 128, wrong[i]), EFAULT);
		FAILS(CALL(SYS_setgroups, 3, wrong[i]), EFAULT);
	}
	FAILS(CALL(SYS_futex, (char *)&wrong + 1, 0, 1, NULL), EINVAL);
	FAILS(CALL(99999), ENOSYS);
	FAILS(CALL(-1), ENOSYS);
}

/* The kernel must not write to the program's constants and code. */
static const char constant[64] = "constant";

static void constants(void)
{
	char text[8];

	FAILS(CALL(SYS_read, OK(open("/dev/zero", O_RDONLY)), constant, 8), EFAULT);
	FAILS(CALL(SYS_read, OK(open("/dev/zero", O_RDONLY)), (void *)constants, 8), EFAULT);
	TEXT(constant, "constant");
	FAILS(CALL(SYS_clock_gettime, CLOCK_MONOTONIC, constant), EFAULT);
	GIVES(write(OK(open("/dev/null", O_WRONLY)), (void *)constants, 8), 8);
	memcpy(text, constant, 8);
	IS(text[0], 'c');
}

/* Memory that the program has unmapped. */
static void no_longer_mapped(void)
{
	char *p = MAP(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	OK(munmap(p, 8192));
	FAILS(CALL(SYS_read, OK(open("/dev/zero", O_RDONLY)), p, 8), EFAULT);
}

const struct check fault_checks[] = {
	{ "fault_reading", reading },
	{ "fault_vectors", vectors },
	{ "fault_paths", paths },
	{ "fault_times", times },
	{ "fault_signals", signals },
	{ "fault_sockets", sockets },
	{ "fault_descriptors", descriptors },
	{ "fault_others", others },
	{ "fault_constants", constants },
	{ "fault_no_longer_mapped", no_longer_mapped },
	{ 0 }
};
