/* SPDX-License-Identifier: MPL-2.0 */
/* Words for people, and small things that every part needs. */
#include "start.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

void say(const char *first, ...)
{
	char line[512];
	size_t n = 0;
	va_list more;

	va_start(more, first);
	for (const char *s = first; s; s = va_arg(more, const char *))
		for (; *s && n < sizeof(line) - 1; s++)
			line[n++] = *s;
	va_end(more);
	line[n++] = '\n';
	CALL(SYS_write, 2, line, n);
}

const char *reason(long err)
{
	static const struct {
		int err;
		const char *text;
	} known[] = {
		{ 1, "not permitted" }, { 2, "there is no such file or device" }, { 5, "input or output error" },
		{ 12, "not enough memory" }, { 16, "busy" }, { 17, "exists" }, { 19, "no such device or file system type" },
		{ 20, "not a directory" }, { 22, "invalid" }, { 28, "no space left" },
		{ 30, "read only" }, { 74, "damaged (bad checksum)" }, { 99, "address cannot be assigned" },
		{ 101, "network unreachable" }, { 113, "no route to it" }, { 117, "damaged; check it with e2fsck" },
	};
	static char number_text[16];
	char *p = number_text + sizeof(number_text) - 1;

	if (err < 0)
		err = -err;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
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
		[SIGHUP] = "SIGHUP", [SIGINT] = "SIGINT", [SIGQUIT] = "SIGQUIT", [SIGILL] = "SIGILL", [SIGTRAP] = "SIGTRAP",
		[SIGABRT] = "SIGABRT", [SIGBUS] = "SIGBUS", [SIGFPE] = "SIGFPE", [SIGKILL] = "SIGKILL", [SIGUSR1] = "SIGUSR1",
		[SIGSEGV] = "SIGSEGV", [SIGUSR2] = "SIGUSR2", [SIGPIPE] = "SIGPIPE", [SIGALRM] = "SIGALRM", [SIGTERM] = "SIGTERM",
		[SIGXCPU] = "SIGXCPU", [SIGXFSZ] = "SIGXFSZ", [SIGVTALRM] = "SIGVTALRM", [SIGPROF] = "SIGPROF", [SIGIO] = "SIGIO",
		[SIGPWR] = "SIGPWR", [SIGSYS] = "SIGSYS",
	};
	const size_t n = sizeof(names) / sizeof(names[0]);

	return (size_t)signal < n && names[signal] ? names[signal] : "see signal(7)";
}

int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

long number(const char *text, long fallback)
{
	long n = 0;

	if (!text || !*text)
		return fallback;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || n > 1L << 50)
			return fallback;
		n = n * 10 + (*text - '0');
	}
	return n;
}

long setting(const char *key, const char *text, long fallback, long most)
{
	long n = text ? number(text, -1) : fallback;

	if (n < 0 || n > most) {
		say("lkl: --config: not a ", key, ": ", text, NULL);
		finish(EXIT_WORDS);
	}
	return n;
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
