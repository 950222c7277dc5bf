/* SPDX-License-Identifier: MPL-2.0 */
/* Conversions between numbers and text, and writing text to a file. */
#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <words.h>

const char *error_text(long err)
{
	static const struct {
		int err;
		const char *text;
	} known[] = {
		{ EPERM, "not permitted" },
		{ ENOENT, "there is no such file or device" },
		{ EIO, "input or output error" },
		{ ENOMEM, "not enough memory" },
		{ EBUSY, "busy" },
		{ EEXIST, "exists" },
		{ ENODEV, "no such device or file system type" },
		{ ENOTDIR, "not a directory" },
		{ EINVAL, "invalid" },
		{ ENOSPC, "no space left" },
		{ EROFS, "read only" },
		{ EBADMSG, "damaged (bad checksum)" },
		{ EADDRNOTAVAIL, "address cannot be assigned" },
		{ ENETUNREACH, "network unreachable" },
		{ EHOSTUNREACH, "no route to it" },
		{ EUCLEAN, "damaged; check it with e2fsck" },
	};
	static char number_text[16];
	char *p = number_text + sizeof(number_text) - 1;

	if (err < 0)
		err = -err;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].err == err)
			return known[i].text;
	do
		*--p = '0' + err % 10;
	while ((err /= 10) && p > number_text + 7);
	return memcpy(p - 6, "error ", 6);
}

const char *signal_name(int signal)
{
	static const char *const names[] = {
		[SIGHUP] = "SIGHUP", [SIGINT] = "SIGINT", [SIGQUIT] = "SIGQUIT",
		[SIGILL] = "SIGILL", [SIGTRAP] = "SIGTRAP", [SIGABRT] = "SIGABRT",
		[SIGBUS] = "SIGBUS", [SIGFPE] = "SIGFPE", [SIGKILL] = "SIGKILL",
		[SIGUSR1] = "SIGUSR1", [SIGSEGV] = "SIGSEGV", [SIGUSR2] = "SIGUSR2",
		[SIGPIPE] = "SIGPIPE", [SIGALRM] = "SIGALRM", [SIGTERM] = "SIGTERM",
		[SIGXCPU] = "SIGXCPU", [SIGXFSZ] = "SIGXFSZ", [SIGVTALRM] = "SIGVTALRM",
		[SIGPROF] = "SIGPROF", [SIGIO] = "SIGIO", [SIGPWR] = "SIGPWR",
		[SIGSYS] = "SIGSYS",
	};

	return (size_t)signal < ARRAY_SIZE(names) && names[signal] ? names[signal] : "see signal(7)";
}

int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

long decimal(const char *text, long fallback)
{
	uint64_t value;

	return text && parse_uint64(text, &value) && value <= INT64_MAX ? (long)value : fallback;
}

long write_file(const char *path, const char *text)
{
	long fd = CALL(SYS_open, path, O_WRONLY), n;

	if (fd < 0)
		return fd;
	n = CALL(SYS_write, fd, text, strlen(text));
	CALL(SYS_close, fd);
	return n < 0 ? n : 0;
}
