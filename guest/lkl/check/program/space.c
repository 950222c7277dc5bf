/* SPDX-License-Identifier: MPL-2.0 */
/* Disk space: a full disk, limits, preallocation. Also copies by the kernel. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static char block[65536];

static int create_on_small(const char *name)
{
	char path[600];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", small_directory ? small_directory : ".", name);
	fd = OK(open(path, O_RDWR | O_CREAT | O_TRUNC, 0666));
	OK(unlink(path));
	return fd;
}

static void require_small(void)
{
	if (!small_directory)
		check_failed("-s", "a small file system", "none");
}

/* Writes until the file system is full, and returns the number of bytes. */
static off_t fill_disk(int fd)
{
	off_t sum = 0;
	ssize_t n;

	memset(block, 'f', sizeof(block));
	while ((n = write(fd, block, sizeof(block))) > 0 && sum < 100 << 20)
		sum += n;
	IS(n, -1);
	IS(errno, ENOSPC);
	return sum;
}

static void full(void)
{
	off_t sum, again;
	int fd, other;

	require_small();
	fd = create_on_small("full");
	sum = fill_disk(fd);
	TRUE(sum > 1 << 20);
	OK(fsync(fd));
	other = create_on_small("other");
	FAILS(write(other, block, sizeof(block)), ENOSPC);
	GIVES(pread(fd, block, 3, sum - 3), 3);
	TRUE(all_bytes(block, 'f', 3));
	/* Removing a file frees its space. */
	OK(ftruncate(fd, 0));
	OK(fsync(fd));
	GIVES(pwrite(other, block, 1 << 15, 0), 1 << 15);
	OK(lseek(fd, 0, SEEK_SET));
	again = fill_disk(fd);
	TRUE(again > sum / 2);
}

static void names_run_out(void)
{
	char path[600];
	int n = 0, fd = 0;

	require_small();
	snprintf(path, sizeof(path), "%s/many", small_directory);
	OK(mkdir(path, 0777));
	for (; n < 30000 && fd != -1; n++) {
		snprintf(path, sizeof(path), "%s/many/%d", small_directory, n);
		fd = open(path, O_CREAT | O_WRONLY, 0666);
		close(fd);
	}
	/*
	 * A file system may have no limit on files, or one above this number.
	 */
	TRUE(fd != -1 || errno == ENOSPC || errno == EBADF);
	while (n-- > 0) {
		snprintf(path, sizeof(path), "%s/many/%d", small_directory, n);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/many", small_directory);
	OK(rmdir(path));
}

static void set_aside(void)
{
	struct stat st;
	int fd = OK(open("file", O_RDWR | O_CREAT, 0666));

	ZERO(posix_fallocate(fd, 0, 1 << 20));
	OK(fstat(fd, &st));
	IS(st.st_size, 1 << 20);
	TRUE(st.st_blocks * 512 >= 1 << 20);
	GIVES(pread(fd, block, sizeof(block), 1000), sizeof(block));
	TRUE(all_bytes(block, 0, sizeof(block)));
	OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 1 << 20, 1 << 20));
	OK(fstat(fd, &st));
	IS(st.st_size, 1 << 20);
	memset(block, 'x', sizeof(block));
	GIVES(pwrite(fd, block, sizeof(block), 0), sizeof(block));
	OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192));
	GIVES(pread(fd, block, sizeof(block), 0), sizeof(block));
	TRUE(all_bytes(block, 'x', 4096) && all_bytes(block + 4096, 0, 8192) &&
	     block[12288] == 'x');
	ERROR(posix_fallocate(fd, 0, 0), EINVAL);
	ERROR(posix_fallocate(fd, -1, 10), EINVAL);
}

static void too_much_set_aside(void)
{
	struct statvfs v;
	int fd;

	require_small();
	fd = create_on_small("aside");
	OK(fstatvfs(fd, &v));
	ERROR(posix_fallocate(fd, 0, 1 << 30), ENOSPC);
}

static volatile int told;

static void note_signal(int sig)
{
	told = sig;
}

static void limit_of_size(void)
{
	struct rlimit before, small;
	int fd = OK(open("file", O_RDWR | O_CREAT, 0666));

	told = 0;
	set_handler(SIGXFSZ, note_signal, 0);
	OK(getrlimit(RLIMIT_FSIZE, &before));
	small = before;
	small.rlim_cur = 100000;
	OK(setrlimit(RLIMIT_FSIZE, &small));
	GIVES(write(fd, block, sizeof(block)), 65536);
	GIVES(write(fd, block, sizeof(block)), 100000 - 65536);
	FAILS(write(fd, block, sizeof(block)), EFBIG);
	IS(told, SIGXFSZ);
	FAILS(ftruncate(fd, 200000), EFBIG);
	OK(setrlimit(RLIMIT_FSIZE, &before));
	GIVES(write(fd, block, 10), 10);
}

const struct check space_checks[] = {
	{ "space_full", full },
	{ "space_names_run_out", names_run_out },
	{ "space_set_aside", set_aside },
	{ "space_too_much_set_aside", too_much_set_aside },
	{ "space_limit_of_size", limit_of_size },
	{ 0 }
};

static int source_of(size_t size)
{
	int fd = OK(open("source", O_RDWR | O_CREAT | O_TRUNC, 0666));

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (char)(i * 31 + i / 256);
	for (size_t done = 0; done < size; done += sizeof(block))
		GIVES(write(fd, block, sizeof(block)), sizeof(block));
	OK(lseek(fd, 0, SEEK_SET));
	return fd;
}

static bool is_source(const char *path, size_t size)
{
	static char text[65536];
	int fd = OK(open(path, O_RDONLY));
	size_t sum = 0;
	ssize_t n;

	while ((n = read(fd, text, sizeof(text))) > 0) {
		if (memcmp(text, block, n) != 0)
			return false;
		sum += n;
	}
	return sum == size;
}

static void to_file(void)
{
	int from = source_of(256 << 10), to = OK(open("copy", O_RDWR | O_CREAT, 0666));
	off_t place = 0;

	GIVES(sendfile(to, from, &place, 256 << 10), 256 << 10);
	IS(place, 256 << 10);
	GIVES(lseek(from, 0, SEEK_CUR), 0);
	TRUE(is_source("copy", 256 << 10));
	GIVES(sendfile(to, from, &place, 100), 0);
	FAILS(sendfile(-1, from, &place, 100), EBADF);
}

static void *copy_to_file(void *arg)
{
	static char text[65536];
	int fd = *(int *)arg, out = OK(open("drained", O_WRONLY | O_CREAT | O_TRUNC, 0666));
	ssize_t n;

	while ((n = read(fd, text, sizeof(text))) > 0)
		GIVES(write(out, text, n), n);
	close(out);
	return NULL;
}

static void to_socket(void)
{
	int from = source_of(1 << 20), pair[2];
	pthread_t thread;
	off_t sum = 0;

	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	thread = start_thread(copy_to_file, &pair[1]);
	while (sum < 1 << 20)
		if (OK(sendfile(pair[0], from, &sum, (1 << 20) - sum)) == 0)
			break;
	OK(shutdown(pair[0], SHUT_WR));
	join_thread(thread);
	TRUE(is_source("drained", 1 << 20));
}

static void through_pipe(void)
{
	int from = source_of(64 << 10), to = OK(open("copy", O_RDWR | O_CREAT, 0666)), a[2], b[2];
	loff_t place = 0;

	OK(pipe(a));
	OK(pipe(b));
	for (int i = 0; i < 4; i++) {
		GIVES(splice(from, &place, a[1], NULL, 16384, 0), 16384);
		GIVES(tee(a[0], b[1], 16384, 0), 16384);
		GIVES(splice(a[0], NULL, to, NULL, 16384, 0), 16384);
		GIVES(splice(b[0], NULL, OK(open("/dev/null", O_WRONLY)), NULL, 16384, 0), 16384);
	}
	TRUE(is_source("copy", 64 << 10));
	FAILS(splice(from, NULL, to, NULL, 1, 0), EINVAL);
}

static void of_range(void)
{
	int from = source_of(128 << 10), to = OK(open("copy", O_RDWR | O_CREAT, 0666));
	loff_t in = 0, out = 0;
	size_t sum = 0;

	while (sum < 128 << 10)
		sum += OK(copy_file_range(from, &in, to, &out, (128 << 10) - sum, 0));
	TRUE(is_source("copy", 128 << 10));
	GIVES(copy_file_range(from, &in, to, &out, 10, 0), 0);
}

const struct check copy_checks[] = {
	{ "copy_to_file", to_file },
	{ "copy_to_socket", to_socket },
	{ "copy_through_pipe", through_pipe },
	{ "copy_of_range", of_range },
	{ 0 }
};
