/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Reads and writes a file, as dd and fio do: disk WHAT FILE MIB; a + before WHAT first uses memory. The rate is in MB (10^6 bytes) or operations a second, the
 * latencies are those of one operation. A guest starts with nothing in its own cache; what the host has is the caller's matter.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "measure.h"

#define SEQUENTIAL (128 << 10)	/* bytes of one operation in sequence */
#define RANDOM 4096		/* of one anywhere, and of one that is synced */
#define OPERATIONS 4096		/* of these */
#define SYNCS 256

static _Alignas(4096) char buffer[SEQUENTIAL];
static int64_t took[1 << 16];
static size_t n;

/* Times one operation, which has to be of all its bytes. */
#define TIME(what, expression, bytes)                                    \
	do {                                                             \
		int64_t from = now_ns();                                 \
		if (check(what, expression) != (bytes))                  \
			die(what);                                       \
		took[n++] = now_ns() - from;                             \
	} while (0)

/* xorshift: the same places in the guest and native. */
static uint64_t any(void)
{
	static uint64_t x = 88172645463325252UL;

	x ^= x << 13;
	x ^= x >> 7;
	return x ^= x << 17;
}

static void sequence(int fd, size_t size, ssize_t (*act)(int, size_t))
{
	for (size_t at = 0; at < size; at += SEQUENTIAL)
		TIME("sequence", act(fd, at), SEQUENTIAL);
}

static ssize_t get(int fd, size_t at)
{
	return pread(fd, buffer, SEQUENTIAL, (off_t)at);
}

static ssize_t put(int fd, size_t at)
{
	memset(buffer, (int)(at >> 17), SEQUENTIAL);
	return pwrite(fd, buffer, SEQUENTIAL, (off_t)at);
}

/* Has memory that the cache will take: a guest's comes from the host page by page, when it is first used. */
static void warm(size_t size)
{
	static char *parts[1024];
	size_t count = 0;

	for (; count < 1024 && count << 20 < size + size / 4; count++) {
		parts[count] = malloc(1 << 20);
		if (!parts[count])
			die("memory");
		memset(parts[count], 1, 1 << 20);
		__asm__ volatile("" : : "r"(parts[count]) : "memory");	/* or it would be left out */
	}
	while (count > 0)
		free(parts[--count]);
}

int main(int argc, char **argv)
{
	const char *what = argc == 4 ? argv[1] : "";
	size_t size = argc == 4 ? strtoul(argv[3], NULL, 10) << 20 : 0, blocks = size / RANDOM;
	int fd = size && size / SEQUENTIAL <= sizeof(took) / sizeof(took[0]) ? open(argv[2], O_RDWR | O_CREAT, 0644) : -1;
	int64_t from;

	if (fd < 0)
		die(argc == 4 ? argv[2] : "disk WHAT FILE MIB");
	if (what[0] == '+') {
		warm(size);
		what++;
	}
	if (!strcmp(what, "reread"))
		sequence(fd, size, get);
	n = 0;
	from = now_ns();
	if (!strcmp(what, "write")) {
		sequence(fd, size, put);
		check("fsync", fsync(fd));
	} else if (!strcmp(what, "read") || !strcmp(what, "reread")) {
		sequence(fd, size, get);
	} else if (!strcmp(what, "randread")) {
		posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
		while (n < OPERATIONS)
			TIME("read", pread(fd, buffer, RANDOM, (off_t)(any() % blocks * RANDOM)), RANDOM);
	} else if (!strcmp(what, "randwrite")) {
		while (n < OPERATIONS)
			TIME("write", pwrite(fd, buffer, RANDOM, (off_t)(any() % blocks * RANDOM)), RANDOM);
		check("fsync", fsync(fd));
	} else if (!strcmp(what, "fsync")) {
		while (n < SYNCS)
			TIME("fsync", pwrite(fd, buffer, RANDOM, (off_t)(n * RANDOM)) == RANDOM ? fsync(fd) : -1, 0);
	} else {
		fprintf(stderr, "unknown: %s\n", what);
		return 1;
	}
	from = now_ns() - from;
	if (!strcmp(what, "randread") || !strcmp(what, "randwrite") || !strcmp(what, "fsync"))
		result((double)n, from, took, n);
	else
		result((double)size / 1e6, from, took, n);
	return 0;
}
