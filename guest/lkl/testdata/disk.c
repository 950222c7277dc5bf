/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Writes disks and files, and looks whether they hold what was written:
 *
 *   raw DEVICE SECTOR     the whole device, in every way; prints a digest of what it should hold
 *   fill DIRECTORY        files of many sizes, some with O_DIRECT; check DIRECTORY reads them
 *   append FILE COUNT     numbers, each on the disk before it is told
 *   sync FILE             writes and fsyncs once; tells what it ended with
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST 512	/* sectors of one transfer */

static uint64_t size, sector;
static uint8_t *generation;	/* of each sector: how often it was written */
static char *parts[MOST];	/* a sector each, not side by side */

static void must(const char *what, int good)
{
	if (good)
		return;
	printf("%s: %s\n", what, errno ? strerror(errno) : "wrong");
	exit(1);
}

static uint64_t any(uint64_t below)
{
	static uint64_t x = 88172645463325252UL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x % below;
}

/* What belongs at a place. */
static uint64_t word(uint64_t at, unsigned int n)
{
	return (at + 1) * 0x9e3779b97f4a7c15UL ^ n * 0xc2b2ae3d27d4eb4fUL;
}

static void put(char *to, uint64_t at, size_t len, unsigned int n)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t w = word(at + i, n);

		memcpy(to + i, &w, 8);
	}
}

static int same(const char *from, uint64_t at, size_t len, unsigned int n)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t w = word(at + i, n);

		if (memcmp(from + i, &w, 8))
			return 0;
	}
	return 1;
}

/* Some sectors from a place on, from or to memory that lies anywhere. */
static void scattered(int fd, uint64_t first, uint64_t n, int write)
{
	struct iovec iov[MOST];
	uint64_t shift = any(MOST);

	for (uint64_t i = 0; i < n; i++) {
		iov[i] = (struct iovec){ parts[(i * 7 + shift) % MOST], sector };
		if (write)
			put(iov[i].iov_base, (first + i) * sector, sector, ++generation[first + i]);
	}
	for (uint64_t i = 0; i < n; i += 256) {
		int count = (int)(n - i < 256 ? n - i : 256);
		off_t at = (off_t)((first + i) * sector);
		ssize_t moved = write ? pwritev(fd, iov + i, count, at) : preadv(fd, iov + i, count, at);

		must("scattered", moved == (ssize_t)(count * sector));
	}
	for (uint64_t i = 0; !write && i < n; i++)
		must("content", same(iov[i].iov_base, (first + i) * sector, sector, generation[first + i]));
}

/* In one piece. */
static void whole(int fd, char *buffer, uint64_t first, uint64_t n, int write)
{
	off_t at = (off_t)(first * sector);

	for (uint64_t i = 0; write && i < n; i++)
		put(buffer + i * sector, (first + i) * sector, sector, ++generation[first + i]);
	must("whole", (write ? pwrite(fd, buffer, n * sector, at) : pread(fd, buffer, n * sector, at)) == (ssize_t)(n * sector));
	for (uint64_t i = 0; !write && i < n; i++)
		must("content", same(buffer + i * sector, (first + i) * sector, sector, generation[first + i]));
}

static void ends(int fd, char *buffer)
{
	uint64_t last = size / sector - 1;

	whole(fd, buffer, last, 1, 1);
	whole(fd, buffer, last, 1, 0);
	whole(fd, buffer, last - 9, 10, 1);
	scattered(fd, last - 20, 21, 1);
	scattered(fd, last - 20, 21, 0);
	must("read at the end", pread(fd, buffer, sector, (off_t)size) == 0);
	must("read over the end", pread(fd, buffer, 8 * sector, (off_t)(last * sector)) == (ssize_t)sector);
	must("write at the end", pwrite(fd, buffer, sector, (off_t)size) < 0 && errno == ENOSPC);
	errno = 0;
}

static void raw(const char *path, uint64_t want)
{
	int direct = open(path, O_RDWR | O_DIRECT), cached = open(path, O_RDWR), got = 0;
	uint64_t sectors, digest = 14695981039346656037UL;
	char *buffer = NULL;

	must(path, direct >= 0 && cached >= 0 && ioctl(direct, BLKGETSIZE64, &size) == 0 && ioctl(direct, BLKSSZGET, &got) == 0);
	sector = (uint64_t)got;
	must("sector", sector == want);
	sectors = size / sector;
	generation = calloc(sectors, 1);
	must("memory", generation && !posix_memalign((void **)&buffer, 4096, MOST * sector));
	for (int i = 0; i < MOST; i++)
		must("memory", !posix_memalign((void **)&parts[i], sector, sector));
	for (uint64_t at = 0, n; at < sectors; at += n) {
		n = sectors - at < MOST ? sectors - at : MOST;
		whole(cached, buffer, at, n, 1);
	}
	must("fsync", fsync(cached) == 0);
	for (int turn = 0; turn < 300; turn++) {
		uint64_t n = 1 + any(MOST), first = any(sectors - n + 1);

		/* The cache of the one has to know what the other one does: only reads are mixed. */
		if (turn % 2)
			scattered(direct, first, n, any(2));
		else
			whole(direct, buffer, first, n, any(2));
	}
	ends(direct, buffer);
	must("fsync", fsync(direct) == 0);
	for (uint64_t at = 0; at < sectors; at++) {
		put(buffer, at * sector, sector, generation[at]);
		for (uint64_t i = 0; i < sector; i++)
			digest = (digest ^ (unsigned char)buffer[i]) * 1099511628211UL;
	}
	printf("digest %016lx\n", digest);
}

#define FILES 60

static void fill(const char *directory, int write)
{
	static _Alignas(4096) char buffer[1 << 18];
	char path[64];

	for (int i = 0; i < FILES; i++) {
		size_t len = any(4) ? any(20000) : any(sizeof(buffer));
		int fd, direct = i % 5 ? 0 : O_DIRECT;

		len = (len | (direct ? 4095 : 7)) + 1;
		snprintf(path, sizeof(path), "%s/%d", directory, i);
		fd = open(path, write ? O_CREAT | O_WRONLY | O_TRUNC | direct : O_RDONLY | direct, 0644);
		must(path, fd >= 0);
		if (write) {
			put(buffer, (uint64_t)i << 32, len, 1);
			must(path, pwrite(fd, buffer, len, 0) == (ssize_t)len);
			must(path, i % 3 || fsync(fd) == 0);
		} else {
			must(path, read(fd, buffer, sizeof(buffer)) == (ssize_t)len && same(buffer, (uint64_t)i << 32, len, 1));
		}
		close(fd);
	}
	printf("%s: done\n", write ? "fill" : "check");
}

static void append(const char *path, int count)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0644);

	must(path, fd >= 0);
	for (int i = 0; i < count; i++) {
		must(path, dprintf(fd, "%d\n", i) > 0 && fsync(fd) == 0);
		printf("synced %d\n", i);
	}
}

static void sync_once(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0644);
	static char buffer[1 << 20];
	ssize_t n;

	must(path, fd >= 0);
	n = write(fd, buffer, sizeof(buffer));
	must("write", n == sizeof(buffer));
	printf("fsync: %s\n", fsync(fd) ? strerror(errno) : "done");
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "raw") && i + 2 < argc)
			raw(argv[i + 1], strtoul(argv[i + 2], NULL, 10)), i++;
		else if (!strcmp(argv[i], "append") && i + 2 < argc)
			append(argv[i + 1], atoi(argv[i + 2])), i++;
		else if (!strcmp(argv[i], "sync"))
			sync_once(argv[i + 1]);
		else
			fill(argv[i + 1], !strcmp(argv[i], "fill"));
	}
	return 0;
}
