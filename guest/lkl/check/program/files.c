/* SPDX-License-Identifier: MPL-2.0 */
/* Contents of files: reads, writes, offsets, sizes, locks. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>

static int create_file(void)
{
	return OK(open("file", O_RDWR | O_CREAT | O_TRUNC, 0666));
}

static void reads_what_was_written(void)
{
	static char out[300000], in[300000];
	int fd = create_file();

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 7 + i / 251);
	GIVES(write(fd, out, sizeof(out)), sizeof(out));
	GIVES(read(fd, in, sizeof(in)), 0);
	GIVES(lseek(fd, 0, SEEK_SET), 0);
	GIVES(read(fd, in, sizeof(in)), sizeof(in));
	IS(memcmp(in, out, sizeof(in)), 0);
	GIVES(read(fd, in, 1), 0);
	GIVES(write(fd, out, 0), 0);
	GIVES(read(fd, in, 0), 0);
}

static void at_places(void)
{
	int fd = create_file();
	char text[8] = "";

	GIVES(pwrite(fd, "world", 5, 5), 5);
	GIVES(pwrite(fd, "hello", 5, 0), 5);
	GIVES(lseek(fd, 0, SEEK_CUR), 0);
	GIVES(pread(fd, text, 5, 5), 5);
	TEXT(text, "world");
	GIVES(pread(fd, text, 8, 8), 2);
	GIVES(pread(fd, text, 8, 10), 0);
	GIVES(pread(fd, text, 8, 1000), 0);
	FAILS(pread(fd, text, 1, -1), EINVAL);
	FAILS(pwrite(fd, text, 1, -1), EINVAL);
}

static void seeks(void)
{
	int fd = create_file(), pipes[2];

	GIVES(write(fd, "0123456789", 10), 10);
	GIVES(lseek(fd, -3, SEEK_END), 7);
	GIVES(lseek(fd, -2, SEEK_CUR), 5);
	GIVES(lseek(fd, 100, SEEK_SET), 100);
	FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
	FAILS(lseek(fd, 0, 99), EINVAL);
	FAILS(lseek(-1, 0, SEEK_SET), EBADF);
	OK(pipe(pipes));
	FAILS(lseek(pipes[0], 0, SEEK_CUR), ESPIPE);
	FAILS(pread(pipes[0], &fd, 1, 0), ESPIPE);
}

/* A hole reads as zeros and occupies no blocks. */
static void holes(void)
{
	int fd = create_file();
	char text[4096];
	struct stat st;

	GIVES(pwrite(fd, "end", 3, 10 << 20), 3);
	OK(fstat(fd, &st));
	IS(st.st_size, (10 << 20) + 3);
	TRUE(st.st_blocks * 512 < 1 << 20);
	GIVES(pread(fd, text, sizeof(text), 5 << 20), sizeof(text));
	TRUE(all_bytes(text, 0, sizeof(text)));
	GIVES(lseek(fd, 0, SEEK_DATA), 10 << 20);
	GIVES(lseek(fd, 0, SEEK_HOLE), 0);
	GIVES(lseek(fd, 10 << 20, SEEK_HOLE), (10 << 20) + 3);
	FAILS(lseek(fd, 11 << 20, SEEK_DATA), ENXIO);
}

static void truncation(void)
{
	char text[100];
	struct stat st;
	int fd = create_file();

	memset(text, 'x', sizeof(text));
	GIVES(write(fd, text, sizeof(text)), sizeof(text));
	OK(ftruncate(fd, 10));
	OK(ftruncate(fd, 50));
	GIVES(pread(fd, text, sizeof(text), 0), 50);
	TRUE(all_bytes(text, 'x', 10) && all_bytes(text + 10, 0, 40));
	OK(truncate("file", 5));
	OK(stat("file", &st));
	IS(st.st_size, 5);
	FAILS(ftruncate(fd, -1), EINVAL);
	FAILS(truncate("none", 0), ENOENT);
	FAILS(truncate(".", 0), EISDIR);
	FAILS(ftruncate(OK(open("file", O_RDONLY)), 0), EINVAL);
}

/* Offsets that do not fit in 32 bits. */
static void large(void)
{
	const off_t place = 5LL << 30;
	int fd = create_file();
	char text[8] = "";
	struct stat st;

	GIVES(pwrite(fd, "far", 3, place), 3);
	OK(fstat(fd, &st));
	IS(st.st_size, place + 3);
	GIVES(lseek(fd, -3, SEEK_END), place);
	GIVES(read(fd, text, 8), 3);
	TEXT(text, "far");
	OK(ftruncate(fd, (3LL << 30) + 1));
	OK(fstat(fd, &st));
	IS(st.st_size, (3LL << 30) + 1);
}

static void vectors(void)
{
	char a[4] = "", b[8] = "", many[1025];
	struct iovec out[3] = { { "abc", 3 }, { NULL, 0 }, { "defg", 4 } };
	struct iovec in[2] = { { a, 3 }, { b, 7 } };
	static struct iovec each[1025];
	volatile int minus = -1;
	int fd = create_file();

	GIVES(writev(fd, out, 3), 7);
	GIVES(preadv(fd, in, 2, 0), 7);
	TEXT(a, "abc");
	TEXT(b, "defg");
	GIVES(pwritev(fd, out, 1, 7), 3);
	TEXT(get_file("file"), "abcdefgabc");
	memset(many, 'm', sizeof(many));
	for (int i = 0; i < 1025; i++)
		each[i] = (struct iovec){ many + i, 1 };
	GIVES(writev(fd, each, 1024), 1024);
	FAILS(writev(fd, each, 1025), EINVAL);
	FAILS(writev(fd, each, minus), EINVAL);
	GIVES(writev(fd, each, 0), 0);
	each[0].iov_len = (size_t)-1;
	FAILS(writev(fd, each, 1), EINVAL);
}

static void synchronised(void)
{
	int fd = create_file(), pipes[2];

	GIVES(write(fd, "text", 4), 4);
	OK(fsync(fd));
	OK(fdatasync(fd));
	OK(syncfs(fd));
	OK(sync_file_range(fd, 0, 4, SYNC_FILE_RANGE_WRITE));
	fd = OK(open("file", O_WRONLY | O_SYNC));
	GIVES(write(fd, "TEXT", 4), 4);
	TEXT(get_file("file"), "TEXT");
	fd = OK(open(".", O_RDONLY));
	OK(fsync(fd));
	OK(pipe(pipes));
	FAILS(fsync(pipes[0]), EINVAL);
	FAILS(fsync(-1), EBADF);
	sync();
}

static void advice(void)
{
	int fd = create_file();

	GIVES(write(fd, "text", 4), 4);
	ZERO(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
	ZERO(posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED));
	ZERO(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	ERROR(posix_fadvise(fd, 0, 0, 99), EINVAL);
	OK(readahead(fd, 0, 4096));
	TEXT(get_file("file"), "text");
}

/*
 * The contents of an unlinked file exist until its last descriptor is closed.
 */
static void unlinked(void)
{
	int fd = create_file();
	char text[8] = "";
	struct stat st;

	OK(unlink("file"));
	FAILS(stat("file", &st), ENOENT);
	GIVES(write(fd, "still", 5), 5);
	GIVES(pread(fd, text, 8, 0), 5);
	TEXT(text, "still");
	OK(fstat(fd, &st));
	IS(st.st_nlink, 0);
	IS(st.st_size, 5);
}

const struct check file_checks[] = {
	{ "file_reads_what_was_written", reads_what_was_written },
	{ "file_at_places", at_places },
	{ "file_seeks", seeks },
	{ "file_holes", holes },
	{ "file_truncation", truncation },
	{ "file_large", large },
	{ "file_vectors", vectors },
	{ "file_synchronised", synchronised },
	{ "file_advice", advice },
	{ "file_unlinked", unlinked },
	{ 0 }
};

static struct flock range(short type, off_t from, off_t length)
{
	return (struct flock){
		.l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = length,
	};
}

/* Locks of two open file descriptions conflict even within one process. */
static void open_file_locks(void)
{
	struct flock l = range(F_WRLCK, 0, 10);
	int a = create_file(), b = OK(open("file", O_RDWR));

	OK(fcntl(a, F_OFD_SETLK, &l));
	l = range(F_WRLCK, 5, 10);
	FAILS(fcntl(b, F_OFD_SETLK, &l), EAGAIN);
	l = range(F_RDLCK, 5, 10);
	OK(fcntl(b, F_OFD_GETLK, &l));
	IS(l.l_type, F_WRLCK);
	IS(l.l_start, 0);
	IS(l.l_len, 10);
	l = range(F_WRLCK, 10, 0);
	OK(fcntl(b, F_OFD_SETLK, &l));
	OK(close(a));
	l = range(F_WRLCK, 0, 0);
	OK(fcntl(b, F_OFD_SETLK, &l));
}

static void process_locks(void)
{
	struct flock l = range(F_WRLCK, 0, 10);
	int fd = create_file();

	OK(fcntl(fd, F_SETLK, &l));
	l = range(F_RDLCK, 0, 0);
	OK(fcntl(fd, F_SETLK, &l));
	l = range(F_WRLCK, 0, 0);
	OK(fcntl(fd, F_GETLK, &l));
	IS(l.l_type, F_UNLCK);
	l = range(F_WRLCK, 0, 0);
	FAILS(fcntl(OK(open("file", O_RDONLY)), F_SETLK, &l), EBADF);
	l.l_type = 99;
	FAILS(fcntl(fd, F_SETLK, &l), EINVAL);
	OK(lockf(fd, F_TLOCK, 0));
	OK(lockf(fd, F_ULOCK, 0));
}

static void *lock_whole(void *arg)
{
	int fd = OK(open("file", O_RDWR));

	*(volatile pid_t *)arg = thread_id();
	OK(flock(fd, LOCK_EX));
	OK(close(fd));
	return arg;
}

static void whole_file_locks(void)
{
	int a = create_file(), b = OK(open("file", O_RDWR));
	volatile pid_t tid = 0;
	pthread_t thread;

	OK(flock(a, LOCK_SH));
	OK(flock(b, LOCK_SH));
	FAILS(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	OK(flock(b, LOCK_UN));
	OK(flock(a, LOCK_EX | LOCK_NB));
	FAILS(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	thread = start_thread(lock_whole, (void *)&tid);
	wait_until_asleep(&tid);
	OK(close(a));
	join_thread(thread);
	FAILS(flock(b, 16), EINVAL);
}

const struct check lock_checks[] = {
	{ "lock_open_file", open_file_locks },
	{ "lock_process", process_locks },
	{ "lock_whole_file", whole_file_locks },
	{ 0 }
};
