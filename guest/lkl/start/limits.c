/* SPDX-License-Identifier: MPL-2.0 */
/* The resource limits of the program. */
#include "start.h"

#include <sys/resource.h>

/*
 * The limit that Nomad's systemd unit gives to the client and its tasks. A higher one
 * would cost memory: some programs allocate a table for as many files.
 */
#define OPEN_FILES 65536

/* Linux's default limit of a stack, and the least that libraries ask for. */
#define STACK_MAX (8L << 20)
#define STACK_MIN (128L << 10)

static void set_limit(int resource, unsigned long soft, unsigned long hard)
{
	struct rlimit limit = { soft, hard };

	CALL(SYS_prlimit64, 0, resource, &limit, NULL);
}

/*
 * Some libraries give each thread a stack of this size. In a guest that takes memory at
 * once, so the limit is a 64th of the memory: 40 such threads fit.
 */
static unsigned long stack_limit(void)
{
	unsigned long info[16] = { 0 };
	long size;

	CALL(SYS_sysinfo, info);
	size = (long)(info[4] / 64) / STACK_MIN * STACK_MIN;
	if (size < STACK_MIN)
		return STACK_MIN;
	return size < STACK_MAX ? size : STACK_MAX;
}

void set_limits(void)
{
	set_limit(RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES);
	set_limit(RLIMIT_STACK, stack_limit(), RLIM_INFINITY);
	/* The kernel limits the number of threads by the size of the memory. */
	set_limit(RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY);
	/* Linux allows 8,192 files in a small guest. There is one program, so that one limit is enough. */
	write_file("/proc/sys/fs/file-max", "1048576");
}
