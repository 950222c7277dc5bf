/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Formatted output: %d %i %u %x %s %c %p %%, with the flags 0 and -, a width, a
 * precision for %s, and the lengths l, ll and z.
 */
#ifndef LIB_STDIO_H
#define LIB_STDIO_H

#include <stdarg.h>
#include <stddef.h>

#define PRINTF_MAX 1024

/* Writes to the console in one write, and cuts the text to PRINTF_MAX bytes. */
int printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
int snprintf(char *to, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int vsnprintf(char *to, size_t size, const char *format, va_list args);

#endif
