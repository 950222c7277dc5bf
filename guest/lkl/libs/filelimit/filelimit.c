/* SPDX-License-Identifier: MPL-2.0
 *
 * Limits the number of open files by the guest's memory. Some servers accept as many
 * connections as files can be open, unless their configuration has a limit. A guest's own
 * limit is high, because files that are not open take no memory.
 */
#include <sys/resource.h>
#include <sys/sysinfo.h>

/* A connection has one or two files, buffers of 16 KiB, and often the state of TLS. */
#define MEMORY_PER_FILE (64 << 10)

static void __attribute__((constructor)) limit_files(void)
{
	struct sysinfo info;
	struct rlimit limit;

	if (sysinfo(&info) || getrlimit(RLIMIT_NOFILE, &limit))
		return;
	if (limit.rlim_cur > info.totalram / MEMORY_PER_FILE)
		limit.rlim_cur = info.totalram / MEMORY_PER_FILE;
	/* Servers use the hard limit. As root they can raise it if their configuration says so. */
	limit.rlim_max = limit.rlim_cur;
	setrlimit(RLIMIT_NOFILE, &limit);
}
