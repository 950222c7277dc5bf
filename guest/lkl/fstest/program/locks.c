/* SPDX-License-Identifier: MPL-2.0 */
/* Locks: flock, fcntl, open file descriptions. */
#define _GNU_SOURCE
#include "fstest.h"

#include <sys/file.h>

static int set_lock(int fd, int command, short type, off_t start, off_t len)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	return fcntl(fd, command, &l);
}

static short get_lock(int fd, int command, short type, off_t start, off_t len)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	if (fcntl(fd, command, &l) == -1)
		return -1;
	return l.l_type;
}

static void lock_whole_file(void)
{
	int a, b;

	put_file("f", "");
	a = OPEN(open("f", O_RDWR));
	b = OPEN(open("f", O_RDWR));
	TRY(flock(a, LOCK_EX));
	TRY(flock(b, LOCK_EX | LOCK_NB));
	TRY(flock(b, LOCK_SH | LOCK_NB));
	TRY(flock(a, LOCK_SH));
	TRY(flock(b, LOCK_SH | LOCK_NB));
	TRY(flock(a, LOCK_EX | LOCK_NB));
	TRY(flock(b, LOCK_UN));
	TRY(flock(a, LOCK_EX | LOCK_NB));
	TRY(close(a));
	TRY(flock(b, LOCK_EX | LOCK_NB));
	TRY(flock(b, 77));
}

static void lock_duplicates_share(void)
{
	int a, b;

	put_file("f", "");
	a = OPEN(open("f", O_RDWR));
	b = OPEN(dup(a));
	TRY(flock(a, LOCK_EX));
	TRY(flock(b, LOCK_EX | LOCK_NB));
	TRY(close(a));
	a = OPEN(open("f", O_RDWR));
	TRY(flock(a, LOCK_SH | LOCK_NB));
	TRY(close(b));
	TRY(flock(a, LOCK_SH | LOCK_NB));
}

static void lock_of_process(void)
{
	int a, b;

	put_file("f", "0123456789");
	a = OPEN(open("f", O_RDWR));
	b = OPEN(open("f", O_RDWR));
	TRY(set_lock(a, F_SETLK, F_WRLCK, 0, 5));
	/* Locks of one process never conflict. */
	TRY(set_lock(b, F_SETLK, F_WRLCK, 0, 10));
	SHOW(get_lock(b, F_GETLK, F_WRLCK, 0, 10) == F_UNLCK);
	TRY(set_lock(a, F_SETLK, F_UNLCK, 0, 0));
	TRY(set_lock(a, F_SETLK, F_RDLCK, 100, 0));
	TRY(set_lock(a, F_SETLK, F_WRLCK, -1, 5));
	TRY(set_lock(a, F_SETLK, 77, 0, 5));
	int r = OPEN(open("f", O_RDONLY));

	TRY(set_lock(r, F_SETLK, F_WRLCK, 0, 5));
	TRY(set_lock(r, F_SETLK, F_RDLCK, 0, 5));
}

static void lock_of_open_file(void)
{
	int a, b;

	put_file("f", "0123456789");
	a = OPEN(open("f", O_RDWR));
	b = OPEN(open("f", O_RDWR));
	TRY(set_lock(a, F_OFD_SETLK, F_WRLCK, 0, 5));
	TRY(set_lock(b, F_OFD_SETLK, F_WRLCK, 0, 5));
	TRY(set_lock(b, F_OFD_SETLK, F_RDLCK, 4, 5));
	TRY(set_lock(b, F_OFD_SETLK, F_WRLCK, 5, 5));
	SHOW(get_lock(b, F_OFD_GETLK, F_WRLCK, 0, 10) == F_WRLCK);
	TRY(set_lock(a, F_OFD_SETLK, F_UNLCK, 0, 2));
	TRY(set_lock(b, F_OFD_SETLK, F_WRLCK, 0, 2));
	TRY(set_lock(b, F_OFD_SETLK, F_WRLCK, 2, 1));
	TRY(close(a));
	TRY(set_lock(b, F_OFD_SETLK, F_WRLCK, 0, 0));
}

static void lock_kinds_are_independent(void)
{
	int a, b;

	put_file("f", "");
	a = OPEN(open("f", O_RDWR));
	b = OPEN(open("f", O_RDWR));
	TRY(flock(a, LOCK_EX));
	TRY(set_lock(b, F_OFD_SETLK, F_WRLCK, 0, 0));
	TRY(lockf(b, F_TEST, 0));
	TRY(unlink("f"));
	TRY(flock(b, LOCK_EX | LOCK_NB));
	put_file("f", "");
	int c = OPEN(open("f", O_RDWR));

	TRY(flock(c, LOCK_EX | LOCK_NB));
}

static void lock_of_directory(void)
{
	int a, b;

	mkdir("d", 0777);
	a = OPEN(open("d", O_RDONLY));
	b = OPEN(open("d", O_RDONLY));
	TRY(flock(a, LOCK_EX));
	TRY(flock(b, LOCK_SH | LOCK_NB));
	TRY(flock(a, LOCK_UN));
	TRY(flock(b, LOCK_SH | LOCK_NB));
	TRY(set_lock(a, F_SETLK, F_RDLCK, 0, 0));
}

const struct fs_case lock_cases[] = {
	{ "lock_whole_file", lock_whole_file, false },
	{ "lock_duplicates_share", lock_duplicates_share, false },
	{ "lock_of_process", lock_of_process, false },
	{ "lock_of_open_file", lock_of_open_file, false },
	{ "lock_kinds_are_independent", lock_kinds_are_independent, false },
	{ "lock_of_directory", lock_of_directory, false },
	{ 0 }
};
