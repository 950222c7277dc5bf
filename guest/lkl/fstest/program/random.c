/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Changes a file in random ways and compares it with a model in memory:
 *
 *	fstest random SECONDS SEED DIRECTORY
 *
 * The file is DIRECTORY/file. The program reads, writes, truncates, maps, allocates,
 * punches, copies, renames, synchronizes and reopens it. It ends at the first
 * difference, and prints the last operations. Otherwise it prints the final size and a
 * digest of the model, with which the caller compares the file.
 *
 * If DIRECTORY/version exists, another process replaces it by rename. Its content is
 * "version N" and a newline. The program requires whole versions that never go back.
 */
#define _GNU_SOURCE
#include "fstest.h"

#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define SIZE_MAX_FILE (1 << 20)
#define TRANSFER_MAX (160 << 10)
#define PAGE 4096
#define HISTORY 40

static unsigned char model[SIZE_MAX_FILE], buffer[SIZE_MAX_FILE];
static size_t size;		/* of the file */
static int fd = -1;
static const char *name = "file";
static uint64_t state;
static unsigned long operations;
static char history[HISTORY][160];

static uint64_t random_below(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % below;
}

static void record(const char *operation, size_t at, size_t n)
{
	snprintf(history[operations % HISTORY], sizeof(history[0]), "%lu: %s at %zu, %zu bytes, file of %zu",
		 operations, operation, at, n, size);
	operations++;
}

static void fail(const char *what)
{
	int error = errno;

	printf("random: %s: %s\n", what, strerror(error));
	for (unsigned long i = operations > HISTORY ? operations - HISTORY : 0; i < operations; i++)
		printf("  %s\n", history[i % HISTORY]);
	fflush(stdout);
	exit(1);
}

static void require(const char *what, bool holds)
{
	if (!holds)
		fail(what);
}

static void compare(const char *what, const unsigned char *got, size_t at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (got[i] != model[at + i]) {
			printf("random: %s: byte %zu is %02x, not %02x\n", what, at + i, got[i], model[at + i]);
			errno = 0;
			fail(what);
		}
}

static void reopen(void)
{
	static const int flags[] = { 0, O_SYNC, O_DSYNC };

	if (fd >= 0)
		require("close", close(fd) == 0);
	fd = open(name, O_RDWR | O_CREAT | flags[random_below(40) ? 0 : random_below(3)], 0644);
	require("open", fd >= 0);
}

/* Sets the model to new bytes, and the buffer to the same. */
static void new_bytes(size_t at, size_t n)
{
	uint64_t x = random_below(UINT64_MAX);

	if (at > size)
		memset(model + size, 0, at - size);
	for (size_t i = 0; i < n; i++)
		buffer[i] = model[at + i] = (unsigned char)((x + i) * 0x9e3779b97f4a7c15u >> 56);
	if (at + n > size)
		size = at + n;
}

static void do_read(size_t at, size_t n)
{
	size_t expected = at >= size ? 0 : size - at < n ? size - at : n;

	record("read", at, n);
	require("read", pread(fd, buffer, n, (off_t)at) == (ssize_t)expected);
	compare("read", buffer, at, expected);
}

static void do_read_vector(size_t at, size_t n)
{
	struct iovec v[3] = { { buffer, n / 3 }, { buffer + n / 3, 7 }, { buffer + n / 3 + 7, n } };
	size_t expected = at >= size ? 0 : size - at;

	if (expected > n / 3 + 7 + n)
		expected = n / 3 + 7 + n;
	record("preadv", at, n / 3 + 7 + n);
	require("preadv", preadv(fd, v, 3, (off_t)at) == (ssize_t)expected);
	compare("preadv", buffer, at, expected);
}

static void do_write(size_t at, size_t n)
{
	record("write", at, n);
	new_bytes(at, n);
	require("write", pwrite(fd, buffer, n, (off_t)at) == (ssize_t)n);
}

static void do_write_vector(size_t at, size_t n)
{
	struct iovec v[2] = { { buffer, n / 2 }, { buffer + n / 2, n - n / 2 } };

	record("pwritev", at, n);
	new_bytes(at, n);
	require("pwritev", pwritev(fd, v, 2, (off_t)at) == (ssize_t)n);
}

static void do_append(size_t at, size_t n)
{
	int appender = open(name, O_WRONLY | O_APPEND);

	(void)at;
	if (n > SIZE_MAX_FILE - size)
		n = SIZE_MAX_FILE - size;
	record("append", size, n);
	new_bytes(size, n);
	require("append", appender >= 0 && write(appender, buffer, n) == (ssize_t)n);
	require("close", close(appender) == 0);
}

static void set_size(size_t to)
{
	if (to > size)
		memset(model + size, 0, to - size);
	size = to;
}

static void do_truncate(size_t at, size_t n)
{
	record("truncate", at, n);
	set_size(at);
	require("truncate", (n % 2 ? truncate(name, (off_t)at) : ftruncate(fd, (off_t)at)) == 0);
}

static void do_truncating_open(size_t at, size_t n)
{
	record("open with O_TRUNC", at, n);
	size = 0;
	require("open", close(fd) == 0 && (fd = open(name, O_RDWR | O_TRUNC)) >= 0);
	do_write(at / 2, n);
}

/* Maps a range of whole pages, and returns where the range begins in it. */
static unsigned char *map(size_t at, size_t n, int protection, int flags, size_t *length)
{
	size_t first = at / PAGE * PAGE;
	unsigned char *p;

	*length = at + n - first;
	p = mmap(NULL, *length, protection, flags, fd, (off_t)first);
	require("mmap", p != MAP_FAILED);
	return p;
}

static void do_map_read(size_t at, size_t n)
{
	size_t length;
	unsigned char *p;

	if (size == 0)
		return;
	at %= size;
	n = n % (size - at) + 1;
	record("mmap read", at, n);
	p = map(at, n, PROT_READ, random_below(2) ? MAP_PRIVATE : MAP_SHARED, &length);
	compare("mmap read", p + at % PAGE, at, n);
	require("munmap", munmap(p, length) == 0);
}

static void do_map_write(size_t at, size_t n)
{
	size_t length;
	unsigned char *p;

	if (size == 0)
		return;
	at %= size;
	n = n % (size - at) + 1;
	record("mmap write", at, n);
	p = map(at, n, PROT_READ | PROT_WRITE, MAP_SHARED, &length);
	new_bytes(at, n);
	memcpy(p + at % PAGE, buffer, n);
	require("msync", random_below(2) || msync(p, length, MS_SYNC) == 0);
	require("munmap", munmap(p, length) == 0);
}

/* Returns false if the file system lacks the operation. */
static bool allocate(int mode, size_t at, size_t n)
{
	if (fallocate(fd, mode, (off_t)at, (off_t)n) == 0)
		return true;
	require("fallocate", errno == EOPNOTSUPP);
	return false;
}

static void do_allocate(size_t at, size_t n)
{
	int keep = random_below(2) ? FALLOC_FL_KEEP_SIZE : 0;

	record(keep ? "fallocate, same size" : "fallocate", at, n);
	if (allocate(keep, at, n) && !keep && at + n > size)
		set_size(at + n);
}

static void clear(size_t at, size_t n)
{
	for (size_t i = at; i < at + n && i < size; i++)
		model[i] = 0;
}

static void do_punch(size_t at, size_t n)
{
	record("punch", at, n);
	if (allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, n))
		clear(at, n);
}

static void do_zero(size_t at, size_t n)
{
	record("zero", at, n);
	if (!allocate(FALLOC_FL_ZERO_RANGE, at, n))
		return;
	clear(at, n);
	if (at + n > size)
		set_size(at + n);
}

static void do_collapse(size_t at, size_t n)
{
	at = at / PAGE * PAGE;
	n = n / PAGE * PAGE + PAGE;
	if (at + n >= size)
		return;
	record("collapse", at, n);
	if (!allocate(FALLOC_FL_COLLAPSE_RANGE, at, n))
		return;
	memmove(model + at, model + at + n, size - at - n);
	size -= n;
}

static void do_insert(size_t at, size_t n)
{
	at = at / PAGE * PAGE;
	n = n / PAGE * PAGE + PAGE;
	if (at >= size || size + n > SIZE_MAX_FILE)
		return;
	record("insert", at, n);
	if (!allocate(FALLOC_FL_INSERT_RANGE, at, n))
		return;
	memmove(model + at + n, model + at, size - at);
	memset(model + at, 0, n);
	size += n;
}

/* Copies a range of the file to a place that does not overlap. */
static void do_copy(size_t at, size_t n)
{
	loff_t from, to;

	if (size < 2)
		return;
	at %= size / 2;
	n = n % (size / 2 - at) + 1;
	from = (loff_t)at;
	to = (loff_t)(size / 2 + random_below(SIZE_MAX_FILE - size / 2 - n));
	record("copy_file_range", at, n);
	if ((size_t)to > size)
		memset(model + size, 0, (size_t)to - size);
	memcpy(model + to, model + at, n);
	if ((size_t)to + n > size)
		size = (size_t)to + n;
	while (n > 0) {
		ssize_t done = copy_file_range(fd, &from, fd, &to, n, 0);

		require("copy_file_range", done > 0);
		n -= (size_t)done;
	}
}

static void do_rename(size_t at, size_t n)
{
	const char *other = strcmp(name, "file") ? "file" : "renamed";

	record("rename", at, n);
	if (random_below(2))
		require("open", close(open(other, O_CREAT | O_WRONLY, 0600)) == 0);
	require("rename", rename(name, other) == 0);
	name = other;
}

static void do_sync(size_t at, size_t n)
{
	record("sync", at, n);
	require("fsync", (n % 2 ? fsync(fd) : fdatasync(fd)) == 0);
}

static void do_reopen(size_t at, size_t n)
{
	record("reopen", at, n);
	reopen();
}

static void do_check_all(size_t at, size_t n)
{
	record("check", at, n);
	require("size", attributes(name).st_size == (off_t)size);
	require("read", pread(fd, buffer, sizeof(buffer), 0) == (ssize_t)size);
	compare("check", buffer, 0, size);
}

static void do_version(size_t at, size_t n)
{
	static long last;
	char end[2] = "", text[64];
	long version;

	if (access("version", F_OK) == -1)
		return;
	record("version", at, n);
	snprintf(text, sizeof(text), "%s", get_file("version"));
	errno = 0;
	require(text, sscanf(text, "version %ld%1[\n]", &version, end) == 2 && version >= last);
	last = version;
}

/*
 * A shared mapping of the whole range that the file can have, which stays for many
 * operations. Only pages that the file has may be touched.
 */
static unsigned char *mapping;

static void do_mapping(size_t at, size_t n)
{
	record(mapping ? "end of mapping" : "mapping", at, n);
	if (mapping) {
		require("munmap", munmap(mapping, SIZE_MAX_FILE) == 0);
		mapping = NULL;
		return;
	}
	mapping = mmap(NULL, SIZE_MAX_FILE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	require("mmap", mapping != MAP_FAILED);
}

static void do_write_to_mapping(size_t at, size_t n)
{
	if (size == 0 || !mapping)
		return;
	at %= size;
	n = n % (size - at) + 1;
	record("write to mapping", at, n);
	new_bytes(at, n);
	memcpy(mapping + at, buffer, n);
}

static void do_compare_mapping(size_t at, size_t n)
{
	if (!mapping)
		return;
	record("compare mapping", at, n);
	compare("mapping", mapping, 0, size);
}

static const struct {
	void (*run)(size_t at, size_t n);
	int weight;
} kinds[] = {
	{ do_read, 20 }, { do_read_vector, 5 }, { do_write, 20 }, { do_write_vector, 5 }, { do_append, 5 },
	{ do_truncate, 6 }, { do_truncating_open, 1 }, { do_map_read, 6 }, { do_map_write, 4 },
	{ do_allocate, 3 }, { do_punch, 4 }, { do_zero, 3 }, { do_collapse, 2 }, { do_insert, 2 }, { do_copy, 4 },
	{ do_rename, 2 }, { do_sync, 2 }, { do_reopen, 4 }, { do_check_all, 2 }, { do_version, 4 },
	{ do_mapping, 2 }, { do_write_to_mapping, 8 }, { do_compare_mapping, 4 },
};

#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

static void step(void)
{
	size_t at = random_below(SIZE_MAX_FILE), n = 1 + random_below(random_below(3) ? 9000 : TRANSFER_MAX);
	uint64_t total = 0, choice;

	if (random_below(3) == 0)
		at = at / PAGE * PAGE;
	if (n > SIZE_MAX_FILE - at)
		n = SIZE_MAX_FILE - at;
	for (size_t i = 0; i < KIND_COUNT; i++)
		total += (uint64_t)kinds[i].weight;
	choice = random_below(total);
	for (size_t i = 0; i < KIND_COUNT; i++) {
		if (choice < (uint64_t)kinds[i].weight) {
			kinds[i].run(at, n);
			return;
		}
		choice -= (uint64_t)kinds[i].weight;
	}
}

static uint64_t digest(void)
{
	uint64_t d = 14695981039346656037u;	/* FNV-1a */

	for (size_t i = 0; i < size; i++)
		d = (d ^ model[i]) * 1099511628211u;
	return d;
}

int run_random(int argc, char **argv)
{
	struct timespec now, end;

	if (argc != 4 || chdir(argv[3]) == -1)
		return fprintf(stderr, "usage: fstest random SECONDS SEED DIRECTORY\n"), 2;
	state = strtoull(argv[2], NULL, 10) * 2 + 1;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += atoi(argv[1]);
	reopen();
	do {
		for (int i = 0; i < 100; i++)
			step();
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (compare_times(now, end) < 0);
	do_check_all(0, 0);
	require("rename", !strcmp(name, "file") || rename(name, "file") == 0);
	printf("size %zu digest %016llx\n", size, (unsigned long long)digest());
	fprintf(stderr, "%lu operations\n", operations);
	return 0;
}
