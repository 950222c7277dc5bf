/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Measures reads and writes of a file, as dd and fio do:
 *
 *	disk [+]MODE FILE MIB
 *
 * MODE is write, read, reread, randread, randwrite or fsync. With a + the program
 * first touches as much memory as the page cache will use. The rate is in MB
 * (10^6 bytes) or operations per second; latencies are those of one operation.
 * A new guest has an empty page cache. The caller controls the host's.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "measure.h"

#define PART (128 << 10)	/* bytes of a sequential operation */
#define BLOCK 4096		/* bytes of a random or synchronous operation */
#define RANDOM_OPERATIONS 4096
#define SYNC_OPERATIONS 256
#define DURATIONS_MAX (1 << 16)

static _Alignas(4096) char buffer[PART];
static int64_t durations[DURATIONS_MAX];
static size_t n_durations;

/* Times an operation, which must return this result. */
#define TIME_OPERATION(name, expression, want)                       \
	do {                                                         \
		int64_t start = now_ns();                            \
		if (check(name, expression) != (want))               \
			die(name);                                   \
		durations[n_durations++] = now_ns() - start;         \
	} while (0)

/* xorshift. The guest and the native process use the same offsets. */
static uint64_t random_number(void)
{
	static uint64_t x = 88172645463325252UL;

	x ^= x << 13;
	x ^= x >> 7;
	return x ^= x << 17;
}

static off_t random_offset(size_t size)
{
	return (off_t)(random_number() % (size / BLOCK) * BLOCK);
}

static void read_all(int fd, size_t size)
{
	for (size_t at = 0; at < size; at += PART)
		TIME_OPERATION("read", pread(fd, buffer, PART, (off_t)at), PART);
}

static void write_all(int fd, size_t size)
{
	for (size_t at = 0; at < size; at += PART) {
		memset(buffer, (int)(at >> 17), PART);
		TIME_OPERATION("write", pwrite(fd, buffer, PART, (off_t)at), PART);
	}
}

static long write_and_sync(int fd, size_t at)
{
	return pwrite(fd, buffer, BLOCK, (off_t)at) == BLOCK ? fsync(fd) : -1;
}

/*
 * Touches memory that the page cache will use later. The host allocates each page
 * of a guest at its first use, which would slow down the measurement.
 */
static void touch_memory(size_t size)
{
	static char *parts[1024];
	size_t count = 0;

	for (; count < 1024 && count << 20 < size + size / 4; count++) {
		parts[count] = malloc(1 << 20);
		if (!parts[count])
			die("memory");
		memset(parts[count], 1, 1 << 20);
		/* Keeps the compiler from removing the memset. */
		__asm__ volatile("" : : "r"(parts[count]) : "memory");
	}
	while (count > 0)
		free(parts[--count]);
}

static bool run_mode(const char *mode, int fd, size_t size)
{
	if (!strcmp(mode, "write")) {
		write_all(fd, size);
		check("fsync", fsync(fd));
	} else if (!strcmp(mode, "read") || !strcmp(mode, "reread")) {
		read_all(fd, size);
	} else if (!strcmp(mode, "randread")) {
		posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
		while (n_durations < RANDOM_OPERATIONS)
			TIME_OPERATION("read", pread(fd, buffer, BLOCK, random_offset(size)), BLOCK);
	} else if (!strcmp(mode, "randwrite")) {
		while (n_durations < RANDOM_OPERATIONS)
			TIME_OPERATION("write", pwrite(fd, buffer, BLOCK, random_offset(size)), BLOCK);
		check("fsync", fsync(fd));
	} else if (!strcmp(mode, "fsync")) {
		while (n_durations < SYNC_OPERATIONS)
			TIME_OPERATION("fsync", write_and_sync(fd, n_durations * BLOCK), 0);
	} else {
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	const char *mode = argc == 4 ? argv[1] : "";
	size_t size = argc == 4 ? strtoul(argv[3], NULL, 10) << 20 : 0;
	int64_t start, elapsed;
	int fd;

	if (size == 0 || size / PART > DURATIONS_MAX) {
		fprintf(stderr, "usage: disk [+]MODE FILE MIB\n");
		return 1;
	}
	fd = (int)check(argv[2], open(argv[2], O_RDWR | O_CREAT, 0644));
	if (mode[0] == '+') {
		touch_memory(size);
		mode++;
	}
	if (!strcmp(mode, "reread"))
		read_all(fd, size);
	n_durations = 0;
	start = now_ns();
	if (!run_mode(mode, fd, size)) {
		fprintf(stderr, "disk: unknown mode %s\n", mode);
		return 1;
	}
	elapsed = now_ns() - start;
	if (!strcmp(mode, "write") || !strcmp(mode, "read") || !strcmp(mode, "reread"))
		print_result((double)size / 1e6, elapsed, durations, n_durations);
	else
		print_result((double)n_durations, elapsed, durations, n_durations);
	return 0;
}
