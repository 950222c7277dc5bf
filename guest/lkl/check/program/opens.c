/* SPDX-License-Identifier: MPL-2.0 */
/* Opening of files, and descriptors. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void flags(void)
{
	int fd;

	FAILS(open("none", O_RDONLY), ENOENT);
	FAILS(open("none/file", O_RDWR | O_CREAT, 0666), ENOENT);
	fd = OK(open("file", O_RDWR | O_CREAT | O_EXCL, 0640));
	OK(close(fd));
	FAILS(open("file", O_RDWR | O_CREAT | O_EXCL, 0640), EEXIST);
	FAILS(open("file/below", O_RDONLY), ENOTDIR);
	FAILS(open("file", O_RDONLY | O_DIRECTORY), ENOTDIR);
	FAILS(open(".", O_WRONLY), EISDIR);
	FAILS(open(".", O_RDWR | O_CREAT, 0666), EISDIR);
	FAILS(open("", O_RDONLY), ENOENT);
	fd = OK(open("file", O_RDONLY));
	FAILS(write(fd, "x", 1), EBADF);
	fd = OK(open("file", O_WRONLY));
	FAILS(read(fd, &fd, 1), EBADF);
	OK(symlink("file", "link"));
	FAILS(open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
	OK(open("link", O_RDONLY));
	OK(symlink("absent", "dangling"));
	FAILS(open("dangling", O_RDONLY), ENOENT);
	FAILS(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0666), EEXIST);
	OK(open("dangling", O_RDWR | O_CREAT, 0666));
	OK(access("absent", F_OK));
}

static void truncates(void)
{
	struct stat st;
	int fd;

	put_file("file", "some text");
	fd = OK(open("file", O_WRONLY | O_TRUNC));
	OK(fstat(fd, &st));
	IS(st.st_size, 0);
}

static void appends(void)
{
	int a, b;

	put_file("file", "one ");
	a = OK(open("file", O_WRONLY | O_APPEND));
	b = OK(open("file", O_WRONLY | O_APPEND));
	GIVES(write(a, "two ", 4), 4);
	GIVES(write(b, "three ", 6), 6);
	OK(lseek(a, 0, SEEK_SET));
	GIVES(write(a, "four", 4), 4);
	TEXT(get_file("file"), "one two three four");
	OK(fcntl(b, F_SETFL, 0));
	OK(lseek(b, 0, SEEK_SET));
	GIVES(write(b, "ONE", 3), 3);
	TEXT(get_file("file"), "ONE two three four");
}

static void modes(void)
{
	struct stat st;

	OK(close(OK(open("plain", O_CREAT | O_WRONLY, 0777))));
	OK(stat("plain", &st));
	IS(st.st_mode, S_IFREG | 0755);
	IS(umask(077), 022);
	OK(close(OK(open("masked", O_CREAT | O_WRONLY, 0777))));
	OK(stat("masked", &st));
	IS(st.st_mode, S_IFREG | 0700);
	OK(close(OK(open("locked", O_CREAT | O_WRONLY, 0))));
	OK(stat("locked", &st));
	IS(st.st_mode, S_IFREG);
}

static void lowest_descriptor(void)
{
	int a = OK(open("/dev/null", O_RDWR)), b = OK(open("/dev/null", O_RDWR)), c;

	TRUE(b > a);
	OK(close(a));
	c = OK(dup(b));
	IS(c == a, true);
	OK(close(c));
	IS(OK(open("/dev/null", O_RDWR)) == a, true);
	FAILS(close(1000), EBADF);
	FAILS(close(-1), EBADF);
}

static void duplicates(void)
{
	int a = OK(open("file", O_RDWR | O_CREAT, 0666)), b = OK(dup(a));

	GIVES(write(a, "12345", 5), 5);
	GIVES(lseek(b, 0, SEEK_CUR), 5);
	GIVES(dup2(a, 200), 200);
	GIVES(dup2(200, 200), 200);
	OK(close(a));
	GIVES(lseek(200, 1, SEEK_SET), 1);
	GIVES(lseek(b, 0, SEEK_CUR), 1);
	FAILS(dup2(a, 201), EBADF);
	FAILS(dup3(b, b, 0), EINVAL);
	GIVES(dup3(b, 202, O_CLOEXEC), 202);
	IS(fcntl(202, F_GETFD), FD_CLOEXEC);
	IS(fcntl(200, F_GETFD), 0);
	GIVES(fcntl(b, F_DUPFD, 300), 300);
	GIVES(fcntl(b, F_DUPFD_CLOEXEC, 300), 301);
	IS(fcntl(301, F_GETFD), FD_CLOEXEC);
	FAILS(fcntl(b, F_DUPFD, -1), EINVAL);
}

static void status_flags(void)
{
	int fd = OK(open("/dev/null", O_RDWR | O_NONBLOCK | O_CLOEXEC)), on = 0;

	IS(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_APPEND), O_RDWR | O_NONBLOCK);
	OK(fcntl(fd, F_SETFL, O_APPEND));
	IS(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_APPEND), O_RDWR | O_APPEND);
	IS(fcntl(fd, F_GETFD), FD_CLOEXEC);
	OK(fcntl(fd, F_SETFD, 0));
	IS(fcntl(fd, F_GETFD), 0);
	on = 1;
	OK(ioctl(fd, FIOCLEX));
	IS(fcntl(fd, F_GETFD), FD_CLOEXEC);
	FAILS(fcntl(fd, 9999), EINVAL);
	FAILS(ioctl(fd, TIOCGWINSZ, &on), ENOTTY);
	IS(isatty(fd), 0);
}

static void limit_of_descriptors(void)
{
	struct rlimit before, few;
	int n = 0, first;

	OK(getrlimit(RLIMIT_NOFILE, &before));
	first = OK(open("/dev/null", O_RDONLY));
	few = before;
	few.rlim_cur = first + 20;
	OK(setrlimit(RLIMIT_NOFILE, &few));
	while (open("/dev/null", O_RDONLY) != -1)
		n++;
	IS(errno, EMFILE);
	IS(n, 19);
	FAILS(dup(first), EMFILE);
	FAILS(dup2(first, first + 20), EBADF);
	OK(setrlimit(RLIMIT_NOFILE, &before));
	OK(dup(first));
}

static void highest_descriptor(void)
{
	struct rlimit before, all;
	int fd = OK(open("/dev/zero", O_RDONLY)), highest;
	char c = 'x';

	OK(getrlimit(RLIMIT_NOFILE, &before));
	all = before;
	if (all.rlim_max < 65536)
		all.rlim_cur = all.rlim_max;
	else
		all.rlim_cur = 65536;
	OK(setrlimit(RLIMIT_NOFILE, &all));
	highest = all.rlim_cur - 1;
	TRUE(dup2(fd, highest) == highest);
	FAILS(dup2(fd, highest + 1), EBADF);
	GIVES(read(highest, &c, 1), 1);
	IS(c, 0);
	OK(close(highest));
	OK(setrlimit(RLIMIT_NOFILE, &before));
}

static void hundreds(void)
{
	int first = OK(open("/dev/null", O_RDONLY));

	for (int i = 0; i < 800; i++)
		IS(OK(open("/dev/zero", O_RDONLY)) == first + 1 + i, true);
	for (int i = 0; i < 800; i++)
		OK(close(first + 1 + i));
}

static void paths_only(void)
{
	struct stat st;
	char byte;
	int fd;

	put_file("file", "text");
	fd = OK(open("file", O_PATH));
	FAILS(read(fd, &byte, 1), EBADF);
	OK(fstat(fd, &st));
	IS(st.st_size, 4);
	fd = OK(open(".", O_PATH));
	OK(openat(fd, "file", O_RDONLY));
}

static void without_a_name(void)
{
	int fd = OK(open(".", O_TMPFILE | O_RDWR, 0600));
	char path[64], text[4];
	struct stat st;

	GIVES(write(fd, "text", 4), 4);
	OK(fstat(fd, &st));
	IS(st.st_nlink, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	TEXT(get_file("named"), "text");
	GIVES(pread(fd, text, 4, 0), 4);
}

static void devices(void)
{
	char text[64];
	int fd;

	memset(text, 'x', sizeof(text));
	fd = OK(open("/dev/zero", O_RDWR));
	GIVES(read(fd, text, sizeof(text)), sizeof(text));
	TRUE(all_bytes(text, 0, sizeof(text)));
	GIVES(write(fd, text, sizeof(text)), sizeof(text));
	fd = OK(open("/dev/null", O_RDWR));
	GIVES(read(fd, text, sizeof(text)), 0);
	GIVES(write(fd, text, sizeof(text)), sizeof(text));
	fd = OK(open("/dev/full", O_RDWR));
	GIVES(read(fd, text, sizeof(text)), sizeof(text));
	FAILS(write(fd, text, sizeof(text)), ENOSPC);
	fd = OK(open("/dev/urandom", O_RDONLY));
	GIVES(read(fd, text, sizeof(text)), sizeof(text));
	TRUE(!all_bytes(text, 0, sizeof(text)));
	OK(open("/dev/random", O_RDONLY));
}

static void streams_by_name(void)
{
	static const char *const names[] = { "/dev/stdin", "/dev/stdout", "/dev/stderr" };
	char target[32], expected[32];

	for (int i = 0; i < 3; i++) {
		memset(target, 0, sizeof(target));
		OK(readlink(names[i], target, sizeof(target) - 1));
		snprintf(expected, sizeof(expected), "/proc/self/fd/%d", i);
		TEXT(target, expected);
	}
	OK(open("/dev/stdout", O_WRONLY | O_APPEND | O_NOCTTY));
}

const struct check open_checks[] = {
	{ "open_flags", flags },
	{ "open_truncates", truncates },
	{ "open_appends", appends },
	{ "open_modes", modes },
	{ "open_lowest_descriptor", lowest_descriptor },
	{ "open_duplicates", duplicates },
	{ "open_status_flags", status_flags },
	{ "open_limit_of_descriptors", limit_of_descriptors },
	{ "open_highest_descriptor", highest_descriptor },
	{ "open_hundreds", hundreds },
	{ "open_paths_only", paths_only },
	{ "open_without_a_name", without_a_name },
	{ "open_devices", devices },
	{ "open_streams_by_name", streams_by_name },
	{ 0 }
};
