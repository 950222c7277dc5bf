/* SPDX-License-Identifier: MPL-2.0 */
/* Contents: reads, writes, vectors, truncation, syncing. */
#define _GNU_SOURCE
#include "fstest.h"

#include <limits.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define MIB (1 << 20)

static unsigned char out[2 * MIB], in[2 * MIB];

static void fill(unsigned int seed)
{
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (unsigned char)((i * 2654435761u + seed) >> 13);
}

static void data_of_all_sizes(void)
{
	static const size_t sizes[] = {
		0, 1, 511, 512, 4095, 4096, 4097, 65535, 65536, 65537, 131071, 131072, 131073, 1048576, 1048577, 2097152,
	};
	int fd = OPEN(open("f", O_CREAT | O_RDWR, 0644));

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		fill((unsigned int)i);
		SHOW(sizes[i]);
		TRY(ftruncate(fd, 0));
		TRY(pwrite(fd, out, sizes[i], 0));
		SHOW(attributes("f").st_size);
		memset(in, 0, sizeof(in));
		TRY(pread(fd, in, sizeof(in), 0));
		SHOW(memcmp(in, out, sizes[i]));
		TRY(pread(fd, in, 10, (off_t)sizes[i]));
	}
}

static void data_unaligned(void)
{
	int fd = OPEN(open("f", O_CREAT | O_RDWR, 0644)), wrong = 0;

	fill(7);
	for (size_t at = 0, n = 1; at + n < sizeof(out); at += n, n = n * 3 % 70001 + 1)
		wrong += pwrite(fd, out + at, n, (off_t)at) != (ssize_t)n;
	SHOW(attributes("f").st_size);
	SHOW(wrong);
	for (size_t at = 0, n = 1; at + n < (size_t)attributes("f").st_size; at += n, n = n * 7 % 90001 + 1)
		wrong += pread(fd, in, n, (off_t)at) != (ssize_t)n || memcmp(in, out + at, n);
	SHOW(wrong);
}

static void data_seen_by_another_descriptor(void)
{
	int a = OPEN(open("f", O_CREAT | O_RDWR, 0644)), b = OPEN(open("f", O_RDWR));
	char text[16] = "";

	TRY(pwrite(a, "one", 3, 0));
	TRY(pread(b, text, 16, 0));
	TEXT(text);
	TRY(pwrite(b, "TWO", 3, 1));
	TRY(pread(a, text, 16, 0));
	TEXT(text);
	TRY(ftruncate(a, 2));
	TRY(pread(b, text, 16, 0));
	TRY(ftruncate(b, 6));
	TRY(pread(a, text, 16, 0));
	SHOW(text[1]);
	SHOW(text[2]);
}

static void data_positions(void)
{
	int fd = OPEN(open("f", O_CREAT | O_RDWR, 0644)), copy;
	char c;

	TRY(write(fd, "0123456789", 10));
	TRY(lseek(fd, -3, SEEK_END));
	TRY(read(fd, &c, 1));
	SHOW(c);
	copy = OPEN(dup(fd));
	TRY(lseek(copy, 2, SEEK_SET));
	TRY(read(fd, &c, 1));
	SHOW(c);
	TRY(lseek(fd, 1000, SEEK_SET));
	TRY(read(fd, &c, 1));
	TRY(write(fd, "x", 1));
	SHOW(attributes("f").st_size);
	TRY(lseek(fd, -1, SEEK_SET));
	TRY(lseek(fd, 0, 77));
	TRY(pread(fd, &c, 1, -1));
	TRY(pwrite(fd, &c, 1, -1));
}

/* Direct calls: preadv2 and pwritev2 of musl call preadv and pwritev if there are no flags. */
static long read_vector(int fd, struct iovec *v, int n, off_t at, int flags)
{
	return syscall(SYS_preadv2, fd, v, n, at, 0, flags);
}

static long write_vector(int fd, struct iovec *v, int n, off_t at, int flags)
{
	return syscall(SYS_pwritev2, fd, v, n, at, 0, flags);
}

static void data_vectors(void)
{
	int fd = OPEN(open("f", O_CREAT | O_RDWR, 0644));
	volatile int too_few = -1, too_many = 2000;
	char a[4] = "", b[8] = "", c[4] = "";
	struct iovec w[3] = { { "abc", 3 }, { NULL, 0 }, { "defgh", 5 } };
	struct iovec r[3] = { { a, 2 }, { b, 5 }, { c, 3 } };

	TRY(writev(fd, w, 3));
	TRY(preadv(fd, r, 3, 0));
	TEXT(a);
	TEXT(b);
	TEXT(c);
	TRY(pwritev(fd, w, 3, 4));
	SHOW(attributes("f").st_size);
	TRY(lseek(fd, 1, SEEK_SET));
	TRY(readv(fd, r, 3));
	TEXT(b);
	TRY(read_vector(fd, r, 2, 2, 0));
	TRY(write_vector(fd, w, 3, 0, RWF_APPEND));
	SHOW(attributes("f").st_size);
	TRY(write_vector(fd, w, 1, 0, RWF_DSYNC));
	TRY(writev(fd, w, too_few));
	TRY(writev(fd, w, too_many));
	TEXT(get_file("f"));
}

static void data_many_vectors(void)
{
	static struct iovec v[1000];
	int fd = OPEN(open("f", O_CREAT | O_RDWR, 0644));

	fill(3);
	for (int i = 0; i < 1000; i++)
		v[i] = (struct iovec){ out + i * 1009, 1009 };
	TRY(pwritev(fd, v, 1000, 5));
	for (int i = 0; i < 1000; i++)
		v[i].iov_base = in + i * 1009;
	TRY(preadv(fd, v, 1000, 5));
	SHOW(memcmp(in, out, 1009000));
}

static void truncate_sizes(void)
{
	static const off_t sizes[] = { 0, 1, 4096, 5000, 100, 65536, 1048576, 3, 4294967296LL, 0 };
	char text[8];

	put_file("f", "0123456789");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		SHOW(sizes[i]);
		TRY(truncate("f", sizes[i]));
		SHOW(attributes("f").st_size);
		memset(text, 'x', 8);
		int fd = open("f", O_RDONLY);

		TRY(pread(fd, text, 8, sizes[i] > 8 ? sizes[i] - 8 : 0));
		SHOW(all_bytes(text, 0, 8));
		close(fd);
	}
}

/* The part beyond the new end must not come back. */
static void truncate_clears_the_rest(void)
{
	int fd = OPEN(open("f", O_CREAT | O_RDWR, 0644));

	memset(out, 'x', 20000);
	for (off_t size = 1; size < 20000; size = size * 3 + 1) {
		TRY(pwrite(fd, out, 20000, 0));
		TRY(pread(fd, in, 20000, 0));
		TRY(ftruncate(fd, size));
		TRY(ftruncate(fd, 20000));
		TRY(pread(fd, in, 20000, 0));
		SHOW(all_bytes(in, 'x', (size_t)size));
		SHOW(all_bytes(in + size, 0, (size_t)(20000 - size)));
	}
}

static void truncate_errors(void)
{
	int fd;

	put_file("f", "");
	mkdir("d", 0777);
	symlink("loop", "loop");
	TRY(truncate("none", 0));
	TRY(truncate("d", 0));
	TRY(truncate("f", -1));
	TRY(truncate("f/x", 0));
	TRY(truncate("loop", 0));
	TRY(truncate("f", LLONG_MAX));
	fd = OPEN(open("f", O_RDWR));
	TRY(ftruncate(fd, -1));
	TRY(ftruncate(-1, 0));
	make_kind(2, "p");
	TRY(truncate("p", 0));
}

static void truncate_beyond_limit(void)
{
	struct rlimit old, limit = { 1000, 1000 };
	int fd;

	getrlimit(RLIMIT_FSIZE, &old);
	limit.rlim_max = old.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	fd = OPEN(open("f", O_CREAT | O_RDWR, 0644));
	TRY(setrlimit(RLIMIT_FSIZE, &limit));
	TRY(ftruncate(fd, 1001));
	TRY(write(fd, out, 2000));
	TRY(write(fd, out, 1));
	TRY(ftruncate(fd, 1000));
	setrlimit(RLIMIT_FSIZE, &old);
	signal(SIGXFSZ, SIG_DFL);
	TRY(write(fd, out, 1));
}

static void data_beyond_4_gib(void)
{
	static const off_t places[] = {
		(1LL << 31) - 2, (1LL << 32) - 2, (1LL << 32) + 4096, (1LL << 33) + 1, (1LL << 40) + 5,
	};
	int fd = OPEN(open("f", O_CREAT | O_RDWR, 0644));
	char text[8] = "";

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		SHOW(places[i]);
		TRY(pwrite(fd, "text", 4, places[i]));
		SHOW(attributes("f").st_size);
		TRY(lseek(fd, -4, SEEK_END));
		TRY(read(fd, text, 8));
		TEXT(text);
	}
	TRY(pread(fd, text, 4, places[1]));
	TEXT(text);
	SHOW(attributes("f").st_blocks < 1000);
	TRY(pwrite(fd, "x", 1, LLONG_MAX));
}

static void seek_to_largest_offset(void)
{
	int fd = OPEN(open("f", O_CREAT | O_RDWR, 0644));

	TRY(lseek(fd, 1LL << 43, SEEK_SET));
	TRY(lseek(fd, LLONG_MAX, SEEK_SET));
}

static void data_synchronised(void)
{
	int fd = OPEN(open("f", O_CREAT | O_RDWR, 0644)), d = OPEN(open(".", O_RDONLY | O_DIRECTORY));

	TRY(write(fd, "text", 4));
	TRY(fsync(fd));
	TRY(fdatasync(fd));
	TRY(fsync(d));
	TRY(fdatasync(d));
	TRY(sync_file_range(fd, 0, 4, SYNC_FILE_RANGE_WRITE));
	TRY(syncfs(fd));
	int r = OPEN(open("f", O_RDONLY));

	TRY(fsync(r));
	TRY(fsync(-1));
	TRY(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	TRY(readahead(fd, 0, 4096));
	TEXT(get_file("f"));
}

static void data_bad_addresses(void)
{
	char *volatile low = (char *)1;
	int fd;

	put_file("f", "text");
	fd = OPEN(open("f", O_RDWR));
	TRY(read(fd, low, 4));
	TRY(write(fd, low, 4));
	TRY(pread(fd, low, 4, 1));
	TRY(lseek(fd, 0, SEEK_CUR));
	TEXT(get_file("f"));
}

static void data_direct(void)
{
	static _Alignas(4096) char buffer[65536];
	int fd = open("f", O_CREAT | O_RDWR | O_DIRECT, 0644);

	memset(buffer, 'x', sizeof(buffer));
	TRY(pwrite(fd, buffer, sizeof(buffer), 0));
	memset(buffer, 0, sizeof(buffer));
	TRY(pread(fd, buffer, sizeof(buffer), 0));
	SHOW(all_bytes(buffer, 'x', sizeof(buffer)));
	int cached = OPEN(open("f", O_RDWR));

	memset(buffer, 'y', 4096);
	TRY(pwrite(fd, buffer, 4096, 4096));
	memset(buffer, 0, 4096);
	TRY(pread(cached, buffer, 4096, 4096));
	SHOW(all_bytes(buffer, 'y', 4096));
}

const struct fs_case data_cases[] = {
	{ "data_of_all_sizes", data_of_all_sizes, false },
	{ "data_unaligned", data_unaligned, false },
	{ "data_seen_by_another_descriptor", data_seen_by_another_descriptor, false },
	{ "data_positions", data_positions, false },
	{ "data_vectors", data_vectors, false },
	{ "data_many_vectors", data_many_vectors, false },
	{ "data_beyond_4_gib", data_beyond_4_gib, false },
	{ "seek_to_largest_offset", seek_to_largest_offset, false },
	{ "data_synchronised", data_synchronised, false },
	{ "data_bad_addresses", data_bad_addresses, false },
	{ "data_direct", data_direct, false },
	{ "truncate_sizes", truncate_sizes, false },
	{ "truncate_clears_the_rest", truncate_clears_the_rest, false },
	{ "truncate_errors", truncate_errors, false },
	{ "truncate_beyond_limit", truncate_beyond_limit, false },
	{ 0 }
};
