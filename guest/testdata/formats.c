/* SPDX-License-Identifier: MPL-2.0 */
/* Compares lib/print.c, compiled with prefixed names, with the host's printf. */
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int lib_snprintf(char *to, size_t size, const char *format, ...);

void solo5_console_write(const char *buf, size_t size)
{
	(void)buf;
	(void)size;
}

static int wrong;

#define SAME_IN(size, ...) \
	do { \
		char lib[64], host[64]; \
		int n = lib_snprintf(lib, size, __VA_ARGS__); \
		int m = snprintf(host, size, __VA_ARGS__); \
		if (n != m || strcmp(lib, host)) { \
			printf("line %d: got \"%s\" (%d), want \"%s\" (%d)\n", \
			       __LINE__, lib, n, host, m); \
			wrong = 1; \
		} \
	} while (0)
#define SAME(...) SAME_IN(sizeof(lib), __VA_ARGS__)

int main(void)
{
	SAME("plain %%");
	SAME("%d %d %d", 0, INT_MAX, INT_MIN);
	SAME("%ld %lld %zu", LONG_MIN, LLONG_MAX, SIZE_MAX);
	SAME("%5d|%-5d|%05d|%05d", 42, 42, 42, -42);
	SAME("%x %08x %lx", 0xbeefu, 0xbeefu, ULONG_MAX);
	SAME("%s|%10s|%-10s|%.3s|%.*s", "a", "right", "left", "cut", 2, "xyz");
	SAME("%c%5c%-3c|", 'a', 'b', 'c');
	SAME_IN(5, "%s", "longer than that");
	SAME_IN(1, "%d", 12345);
	return wrong;
}
