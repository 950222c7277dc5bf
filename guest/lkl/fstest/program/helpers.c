/* SPDX-License-Identifier: MPL-2.0 */
/* The helpers of fstest.h. */
#define _GNU_SOURCE
#include "fstest.h"

#include <dirent.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ERRORS(X)                                                              \
	X(EPERM) X(ENOENT) X(EINTR) X(EIO) X(ENXIO) X(EBADF) X(EAGAIN)         \
	X(ENOMEM) X(EACCES) X(EFAULT) X(EBUSY) X(EEXIST) X(EXDEV) X(ENODEV)    \
	X(ENOTDIR) X(EISDIR) X(EINVAL) X(ENFILE) X(EMFILE) X(ENOTTY)           \
	X(ETXTBSY) X(EFBIG) X(ENOSPC) X(ESPIPE) X(EROFS) X(EMLINK) X(EPIPE)    \
	X(ERANGE) X(EDEADLK) X(ENAMETOOLONG) X(ENOLCK) X(ENOSYS) X(ENOTEMPTY)  \
	X(ELOOP) X(ENODATA) X(EOVERFLOW) X(EOPNOTSUPP) X(EADDRINUSE)           \
	X(ECONNREFUSED) X(ESTALE) X(EDQUOT) X(E2BIG)

static uid_t first_user;	/* root, or USER with the option -u */

static const char *error_name(int error)
{
	static char number[16];

	switch (error) {
#define NAME(e) case e: return #e;
	ERRORS(NAME)
	}
	snprintf(number, sizeof(number), "error %d", error);
	return number;
}

long long fs_try(const char *call, long long result)
{
	if (result == -1)
		printf("  %s: %s\n", call, error_name(errno));
	else
		printf("  %s: %lld\n", call, result);
	return result;
}

int fs_open(const char *call, int fd)
{
	printf("  %s: %s\n", call, fd == -1 ? error_name(errno) : "a descriptor");
	return fd;
}

void fs_show(const char *expression, long long value)
{
	printf("  %s: %lld\n", expression, value);
}

void fs_octal(const char *expression, unsigned int value)
{
	printf("  %s: 0%o\n", expression, value);
}

void fs_text(const char *expression, const char *text)
{
	printf("  %s: %s\n", expression, text);
}

void fs_label(const char *label)
{
	printf(" %s\n", label);
}

void become(uid_t user, gid_t group)
{
	if (setgroups(0, NULL) == -1 || setegid(group) == -1 || seteuid(user) == -1)
		printf("  become another user: %s\n", error_name(errno));
}

void become_first(void)
{
	if (first_user != 0)
		return;
	if (seteuid(0) == -1 || setegid(0) == -1)
		printf("  become root: %s\n", error_name(errno));
}

void put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);

	if (fd == -1 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		printf("  write %s: %s\n", path, error_name(errno));
	if (fd != -1)
		close(fd);
}

const char *get_file(const char *path)
{
	static char text[1024];
	int fd = open(path, O_RDONLY | O_NONBLOCK);
	ssize_t n;

	if (fd == -1)
		return error_name(errno);
	n = read(fd, text, sizeof(text) - 1);
	if (n == -1)
		snprintf(text, sizeof(text), "%s", error_name(errno));
	else
		text[n] = 0;
	close(fd);
	return text;
}

struct stat attributes(const char *path)
{
	struct stat st = { 0 };

	lstat(path, &st);
	return st;
}

mode_t mode_of(const char *path)
{
	return attributes(path).st_mode;
}

bool all_bytes(const void *at, int value, size_t size)
{
	const unsigned char *p = at;

	for (size_t i = 0; i < size; i++)
		if (p[i] != (unsigned char)value)
			return false;
	return true;
}

int compare_times(struct timespec a, struct timespec b)
{
	if (a.tv_sec != b.tv_sec)
		return a.tv_sec < b.tv_sec ? -1 : 1;
	return (a.tv_nsec > b.tv_nsec) - (a.tv_nsec < b.tv_nsec);
}

/* The clock of file times advances once per tick of the kernel that stores them. */
void next_tick(void)
{
	struct timespec before, limit;

	put_file(".tick", "");
	before = attributes(".tick").st_mtim;
	clock_gettime(CLOCK_MONOTONIC, &limit);
	limit.tv_sec += 10;
	for (struct timespec now = { 0 }; compare_times(now, limit) < 0;) {
		if (utimensat(AT_FDCWD, ".tick", NULL, 0) == -1)
			break;
		if (compare_times(attributes(".tick").st_mtim, before) > 0)
			return;
		clock_gettime(CLOCK_MONOTONIC, &now);
	}
	printf("  the clock of the file system does not advance\n");
}

long count_entries(const char *path)
{
	DIR *d = opendir(path);
	long n = 0;

	if (!d)
		return -1;
	for (struct dirent *e; (e = readdir(d));)
		n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	closedir(d);
	return n;
}

const char *const kind_names[KINDS] = { "regular", "directory", "fifo", "socket", "symlink" };

static int bind_socket(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0), result;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	result = bind(s, (struct sockaddr *)&a, sizeof(a));
	close(s);
	return result;
}

void make_kind(int kind, const char *path)
{
	int result = 0;

	if (kind == 0)
		put_file(path, "content");
	else if (kind == 1)
		result = mkdir(path, 0755);
	else if (kind == 2)
		result = mkfifo(path, 0644);
	else if (kind == 3)
		result = bind_socket(path);
	else
		result = symlink("nowhere", path);
	if (result == -1)
		printf("  make a %s: %s\n", kind_names[kind], error_name(errno));
}

bool start_as_user(void)
{
	first_user = USER;
	return setgroups(0, NULL) == 0 && setresgid(USER, USER, USER) == 0 &&
	       setresuid(USER, USER, USER) == 0;
}
