/* SPDX-License-Identifier: MPL-2.0 */
/* The number of files that the program may open. */
#include "start.h"

#include <sys/resource.h>

/*
 * The limit that Nomad's systemd unit gives to the client and its tasks. A higher one
 * would cost memory: some programs allocate a table for as many files.
 */
#define OPEN_FILES 65536

void raise_limit_of_files(void)
{
	struct rlimit limit = { OPEN_FILES, OPEN_FILES };

	CALL(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, NULL);
	/* Linux allows 8,192 files in a small guest. There is one program, so that one limit is enough. */
	write_file("/proc/sys/fs/file-max", "1048576");
}
