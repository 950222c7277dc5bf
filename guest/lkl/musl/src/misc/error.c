/* SPDX-License-Identifier: MPL-2.0 */
/* error() and error_at_line() of glibc, which musl lacks. */
#define _GNU_SOURCE
#include <errno.h>
#include <error.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned int error_message_count;
int error_one_per_line; /* error_at_line() prints one message per line of a file */
void (*error_print_progname)(void);

static void print_name(const char *end)
{
	fflush(stdout);
	if (error_print_progname)
		error_print_progname();
	else
		fprintf(stderr, "%s:%s", program_invocation_name, end);
}

static void print_rest(int status, int errnum, const char *format, va_list arguments)
{
	vfprintf(stderr, format, arguments);
	if (errnum)
		fprintf(stderr, ": %s", strerror(errnum));
	putc('\n', stderr);
	fflush(stderr);
	error_message_count++;
	if (status)
		exit(status);
}

void error(int status, int errnum, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_name(" ");
	print_rest(status, errnum, format, arguments);
	va_end(arguments);
}

void error_at_line(int status, int errnum, const char *file, unsigned int line, const char *format, ...)
{
	static const char *last_file;
	static unsigned int last_line;
	va_list arguments;

	if (error_one_per_line && last_line == line && last_file && file && !strcmp(last_file, file))
		return;
	last_file = file;
	last_line = line;
	va_start(arguments, format);
	print_name(file ? "" : " ");
	if (file)
		fprintf(stderr, "%s:%u: ", file, line);
	print_rest(status, errnum, format, arguments);
	va_end(arguments);
}
