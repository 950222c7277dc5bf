/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Writes disks and files, and compares their contents:
 *
 *   raw DEVICE SECTOR     writes and reads the whole device in transfers of all
 *                         kinds, and prints a digest of the expected content
 *   fill DIRECTORY        writes files of many sizes, some with O_DIRECT
 *   check DIRECTORY       compares these files
 *   append FILE COUNT     appends numbers, and prints each after its fsync
 *   sync FILE             writes once, and prints the result of fsync
 *   hold DIRECTORY        syncs small files in many new directories, then waits
 *   held DIRECTORY        compares these files
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
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SECTORS_MAX 512	/* sectors of one transfer */

static uint64_t size, sector;
static uint8_t *generation;		/* number of writes to each sector */
static char *parts[SECTORS_MAX];	/* one sector each, not contiguous */

static void require(const char *operation, int ok)
{
	if (ok)
		return;
	printf("%s: %s\n", operation, errno ? strerror(errno) : "unexpected result");
	exit(1);
}

static uint64_t random_below(uint64_t below)
{
	static uint64_t x = 88172645463325252UL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x % below;
}

/* The expected word at an offset after n writes. */
static uint64_t pattern_word(uint64_t at, unsigned int n)
{
	return (at + 1) * 0x9e3779b97f4a7c15UL ^ n * 0xc2b2ae3d27d4eb4fUL;
}

static void fill_pattern(char *to, uint64_t at, size_t len, unsigned int n)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t w = pattern_word(at + i, n);

		memcpy(to + i, &w, 8);
	}
}

static int has_pattern(const char *from, uint64_t at, size_t len, unsigned int n)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t w = pattern_word(at + i, n);

		if (memcmp(from + i, &w, 8))
			return 0;
	}
	return 1;
}

static void fill_sector(char *to, uint64_t i)
{
	fill_pattern(to, i * sector, sector, ++generation[i]);
}

static void require_sector(const char *from, uint64_t i)
{
	require("content", has_pattern(from, i * sector, sector, generation[i]));
}

/* Transfers sectors from or to memory that is not contiguous. */
static void transfer_scattered(int fd, uint64_t first, uint64_t n, int write)
{
	struct iovec iov[SECTORS_MAX];
	uint64_t shift = random_below(SECTORS_MAX);

	for (uint64_t i = 0; i < n; i++) {
		iov[i] = (struct iovec){ parts[(i * 7 + shift) % SECTORS_MAX], sector };
		if (write)
			fill_sector(iov[i].iov_base, first + i);
	}
	for (uint64_t i = 0; i < n; i += 256) {
		int count = (int)(n - i < 256 ? n - i : 256);
		off_t at = (off_t)((first + i) * sector);
		ssize_t moved = write ? pwritev(fd, iov + i, count, at) :
					preadv(fd, iov + i, count, at);

		require("scattered", moved == (ssize_t)(count * sector));
	}
	for (uint64_t i = 0; !write && i < n; i++)
		require_sector(iov[i].iov_base, first + i);
}

/* Transfers sectors from or to contiguous memory. */
static void transfer_whole(int fd, char *buffer, uint64_t first, uint64_t n, int write)
{
	off_t at = (off_t)(first * sector);
	ssize_t moved;

	for (uint64_t i = 0; write && i < n; i++)
		fill_sector(buffer + i * sector, first + i);
	moved = write ? pwrite(fd, buffer, n * sector, at) : pread(fd, buffer, n * sector, at);
	require("whole", moved == (ssize_t)(n * sector));
	for (uint64_t i = 0; !write && i < n; i++)
		require_sector(buffer + i * sector, first + i);
}

static void check_end_of_device(int fd, char *buffer)
{
	uint64_t last = size / sector - 1;

	transfer_whole(fd, buffer, last, 1, 1);
	transfer_whole(fd, buffer, last, 1, 0);
	transfer_whole(fd, buffer, last - 9, 10, 1);
	transfer_scattered(fd, last - 20, 21, 1);
	transfer_scattered(fd, last - 20, 21, 0);
	require("read at the end", pread(fd, buffer, sector, (off_t)size) == 0);
	require("read across the end",
		pread(fd, buffer, 8 * sector, (off_t)(last * sector)) == (ssize_t)sector);
	require("write at the end", pwrite(fd, buffer, sector, (off_t)size) < 0 && errno == ENOSPC);
	errno = 0;
}

static void check_device(const char *path, uint64_t expected_sector)
{
	int direct = open(path, O_RDWR | O_DIRECT), cached = open(path, O_RDWR), got = 0;
	uint64_t sectors, digest = 14695981039346656037UL;
	char *buffer = NULL;

	require(path, direct >= 0 && cached >= 0);
	require(path, ioctl(direct, BLKGETSIZE64, &size) == 0);
	require(path, ioctl(direct, BLKSSZGET, &got) == 0);
	sector = (uint64_t)got;
	require("sector", sector == expected_sector);
	sectors = size / sector;
	generation = calloc(sectors, 1);
	require("memory", generation != NULL);
	require("memory", !posix_memalign((void **)&buffer, 4096, SECTORS_MAX * sector));
	for (int i = 0; i < SECTORS_MAX; i++)
		require("memory", !posix_memalign((void **)&parts[i], sector, sector));
	for (uint64_t at = 0, n; at < sectors; at += n) {
		n = sectors - at < SECTORS_MAX ? sectors - at : SECTORS_MAX;
		transfer_whole(cached, buffer, at, n, 1);
	}
	require("fsync", fsync(cached) == 0);
	for (int turn = 0; turn < 300; turn++) {
		uint64_t n = 1 + random_below(SECTORS_MAX), first = random_below(sectors - n + 1);

		/* No turn uses the cached descriptor, whose pages would be stale. */
		if (turn % 2)
			transfer_scattered(direct, first, n, random_below(2));
		else
			transfer_whole(direct, buffer, first, n, random_below(2));
	}
	check_end_of_device(direct, buffer);
	require("fsync", fsync(direct) == 0);
	for (uint64_t at = 0; at < sectors; at++) {
		fill_pattern(buffer, at * sector, sector, generation[at]);
		for (uint64_t i = 0; i < sector; i++)
			digest = (digest ^ (unsigned char)buffer[i]) * 1099511628211UL;
	}
	printf("digest %016lx\n", digest);
}

#define FILES 60

static void check_files(const char *directory, int write)
{
	static _Alignas(4096) char buffer[1 << 18];
	char path[64];

	for (int i = 0; i < FILES; i++) {
		size_t len = random_below(4) ? random_below(20000) : random_below(sizeof(buffer));
		int fd, direct = i % 5 ? 0 : O_DIRECT;

		len = (len | (direct ? 4095 : 7)) + 1;
		snprintf(path, sizeof(path), "%s/%d", directory, i);
		fd = open(path, direct | (write ? O_CREAT | O_WRONLY | O_TRUNC : O_RDONLY), 0644);
		require(path, fd >= 0);
		if (write) {
			fill_pattern(buffer, (uint64_t)i << 32, len, 1);
			require(path, pwrite(fd, buffer, len, 0) == (ssize_t)len);
			require(path, i % 3 || fsync(fd) == 0);
		} else {
			require(path, read(fd, buffer, sizeof(buffer)) == (ssize_t)len);
			require(path, has_pattern(buffer, (uint64_t)i << 32, len, 1));
		}
		close(fd);
	}
	printf("%s: done\n", write ? "fill" : "check");
}

static void append_numbers(const char *path, int count)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0644);

	require(path, fd >= 0);
	for (int i = 0; i < count; i++) {
		require(path, dprintf(fd, "%d\n", i) > 0 && fsync(fd) == 0);
		printf("synced %d\n", i);
	}
}

static void sync_once(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0644);
	static char buffer[1 << 20];
	ssize_t n;

	require(path, fd >= 0);
	n = write(fd, buffer, sizeof(buffer));
	require("write", n == sizeof(buffer));
	printf("fsync: %s\n", fsync(fd) ? strerror(errno) : "done");
}

#define DIRECTORIES 200

/* Each new directory is a block that is in the journal only, until ext4 writes it back. */
static void check_directories(const char *parent, int write)
{
	char path[64], name[16], content[16] = "";

	for (int i = 0; i < DIRECTORIES; i++) {
		ssize_t length = snprintf(name, sizeof(name), "%d", i);
		int fd;

		snprintf(path, sizeof(path), "%s/%d", parent, i);
		require(path, !write || mkdir(path, 0755) == 0);
		strcat(path, "/number");
		fd = open(path, write ? O_CREAT | O_WRONLY : O_RDONLY, 0644);
		require(path, fd >= 0);
		if (write)
			require(path, pwrite(fd, name, length, 0) == length && fsync(fd) == 0);
		else
			require(path, read(fd, content, sizeof(content)) == length &&
				!memcmp(content, name, length));
		close(fd);
	}
	printf("%s: done\n", write ? "hold" : "held");
	if (write)
		pause();
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "raw") && i + 2 < argc)
			check_device(argv[i + 1], strtoul(argv[i + 2], NULL, 10)), i++;
		else if (!strcmp(argv[i], "append") && i + 2 < argc)
			append_numbers(argv[i + 1], atoi(argv[i + 2])), i++;
		else if (!strcmp(argv[i], "sync"))
			sync_once(argv[i + 1]);
		else if (!strcmp(argv[i], "hold") || !strcmp(argv[i], "held"))
			check_directories(argv[i + 1], !strcmp(argv[i], "hold"));
		else
			check_files(argv[i + 1], !strcmp(argv[i], "fill"));
	}
	return 0;
}
