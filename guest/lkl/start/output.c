/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Standard output and standard error of the start program, which the program inherits.
 * They are terminals only if the host says so: programs then show progress bars and
 * colors, and write each line at once.
 */
#include "start.h"

#include <fcntl.h>
#include <string.h>

void output_enable(const struct config *c)
{
	if (config_is_set(c->error))
		CALL(LKL_NR_STDERR);
}

/* Opens a device as the descriptor number. */
static void open_as(const char *devices, const char *name, int number)
{
	char path[sizeof(ROOT "/dev/ttyS0")];
	long fd;

	stpcpy(stpcpy(path, devices), name);
	fd = CALL(SYS_open, path, O_RDWR | O_NOCTTY);
	if (fd >= 0 && fd != number) {
		CALL(SYS_dup2, fd, number);
		CALL(SYS_close, fd);
	}
}

void output_open(const struct config *c, const char *devices)
{
	open_as(devices, config_is_set(c->stdout_tty) ? "/ttyS0" : "/out", 1);
	if (config_is_set(c->error))
		open_as(devices, config_is_set(c->stderr_tty) ? "/ttyS1" : "/err", 2);
	else
		CALL(SYS_dup2, 1, 2);
}
