/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Measures the memory that a program gets after file activity:
 *
 *	memory MIB FILES [PIECE...]
 *
 * MIB is the guest's memory. The program writes FILES small files and a large one
 * of half of the memory. Then it maps memory in pieces of PIECE KiB until that
 * fails, by default in pieces of 1/64, 1/16 and 1/4 of the memory. What is left
 * after the latter it maps in pieces of half that size. Before each series it
 * reads the large file again. For each series it prints
 *
 *	pieces KIB GOT AVAILABLE WORST
 *
 * where GOT and AVAILABLE are the memory of the pieces and MemAvailable before the
 * series, in KiB, and WORST the time of the slowest mmap() in microseconds. Then it maps half of the memory in pieces of
 * 64 KiB, unmaps every other one, and maps pieces of 128 KiB. It prints
 *
 *	checkerboard GOT AVAILABLE HOLES
 *
 * in KiB. HOLES is the part of AVAILABLE in the unmapped pieces of 64 KiB.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "measure.h"

#define PIECES_MAX (1 << 16)
#define SMALL 4000		/* bytes of a small file */

static void *pieces[PIECES_MAX];
static char buffer[1 << 16];

static long available_kib(void)
{
	int fd = check("open", open("/proc/meminfo", O_RDONLY));
	long n = check("read", read(fd, buffer, sizeof(buffer) - 1));
	char *line;

	close(fd);
	buffer[n] = 0;
	line = strstr(buffer, "MemAvailable:");
	return line ? atol(line + sizeof("MemAvailable:")) : 0;
}

static void write_file(const char *name, long size)
{
	int fd = check(name, open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600));

	for (long part; size > 0; size -= part) {
		part = size < (long)sizeof(buffer) ? size : (long)sizeof(buffer);
		if (check("write", write(fd, buffer, part)) != part)
			die("write");
	}
	close(fd);
}

static void read_file(const char *name)
{
	int fd = check(name, open(name, O_RDONLY));

	while (check("read", read(fd, buffer, sizeof(buffer))) > 0)
		;
	close(fd);
}

static void make_files(long mib, long files)
{
	char name[32];

	check("mkdir", mkdir("/small", 0700));
	for (long i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "/small/%ld", i);
		write_file(name, SMALL);
	}
	write_file("/large", mib << 19);
}

static void *map(long kib)
{
	return mmap(NULL, kib << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Maps pieces from the nth on until that fails, or up to a number. Returns the new n. */
static long map_pieces(long kib, long n, long most, int64_t *worst)
{
	for (; n < most; n++) {
		int64_t start = now_ns();

		pieces[n] = map(kib);
		start = now_ns() - start;
		if (start > *worst)
			*worst = start;
		if (pieces[n] == MAP_FAILED)
			break;
		memset(pieces[n], 1, kib << 10);
	}
	return n;
}

static void measure_pieces(long kib, bool halves)
{
	int64_t worst = 0;
	long available, whole, n;

	read_file("/large");
	available = available_kib();
	whole = map_pieces(kib, 0, PIECES_MAX, &worst);
	n = halves ? map_pieces(kib / 2, whole, PIECES_MAX, &worst) : whole;
	for (long i = 0; i < n; i++)
		munmap(pieces[i], (i < whole ? kib : kib / 2) << 10);
	printf("pieces %ld %ld %ld %ld\n", kib, whole * kib + (n - whole) * kib / 2, available,
	       (long)(worst / 1000));
}

static void measure_checkerboard(long mib)
{
	long holes = 0, available, got = 0, n;
	int64_t worst = 0;

	read_file("/large");
	n = map_pieces(64, 0, mib * 8, &worst);
	for (long i = 0; i < n; i += 2) {
		munmap(pieces[i], 64 << 10);
		holes += 64;
	}
	available = available_kib();
	while (map(128) != MAP_FAILED)
		got += 128;
	printf("checkerboard %ld %ld %ld\n", got, available, holes);
}

int main(int argc, char **argv)
{
	long mib = argc > 2 ? atol(argv[1]) : 0;

	if (mib <= 0) {
		fprintf(stderr, "usage: memory MIB FILES [PIECE...]\n");
		return 2;
	}
	make_files(mib, atol(argv[2]));
	sync();
	if (argc > 3) {
		for (int i = 3; i < argc; i++)
			measure_pieces(atol(argv[i]), false);
		return 0;
	}
	measure_pieces(mib * 1024 / 64, false);
	measure_pieces(mib * 1024 / 16, false);
	measure_pieces(mib * 1024 / 4, true);
	measure_checkerboard(mib);
	return 0;
}
