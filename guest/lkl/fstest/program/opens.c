/* SPDX-License-Identifier: MPL-2.0 */
/* open and its flags. */
#define _GNU_SOURCE
#include "fstest.h"

#include <sys/syscall.h>

static void open_creates(void)
{
	OPEN(open("f", O_RDONLY));
	OPEN(open("f", O_RDONLY | O_CREAT, 0640));
	OCTAL(mode_of("f"));
	OPEN(open("f", O_RDWR | O_CREAT, 0777));
	OCTAL(mode_of("f"));
	OPEN(open("f", O_RDWR | O_CREAT | O_EXCL, 0777));
	OPEN(open("g", O_RDWR | O_CREAT | O_EXCL, 0600));
	OCTAL(mode_of("g"));
	OPEN(creat("h", 0644));
	SHOW(count_entries("."));
}

static void open_exclusive_over_kinds(void)
{
	for (int kind = 0; kind < KINDS; kind++) {
		make_kind(kind, kind_names[kind]);
		OPEN(open(kind_names[kind], O_CREAT | O_EXCL | O_WRONLY, 0666));
	}
}

static void open_kinds(void)
{
	for (int kind = 0; kind < KINDS; kind++) {
		const char *path = kind_names[kind];

		fs_label(path);
		make_kind(kind, path);
		OPEN(open(path, O_RDONLY | O_NONBLOCK));
		OPEN(open(path, O_WRONLY | O_NONBLOCK));
		OPEN(open(path, O_RDWR | O_NONBLOCK));
		OPEN(open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW));
		OPEN(open(path, O_RDONLY | O_NONBLOCK | O_DIRECTORY));
		OPEN(open(path, O_PATH));
		OPEN(open(path, O_PATH | O_NOFOLLOW));
		OPEN(open(path, O_PATH | O_DIRECTORY));
		OPEN(open(path, O_WRONLY | O_NONBLOCK | O_TRUNC));
	}
}

static void open_truncates(void)
{
	put_file("f", "text");
	OPEN(open("f", O_WRONLY | O_TRUNC));
	SHOW(attributes("f").st_size);
	put_file("f", "text");
	OPEN(open("f", O_RDWR | O_CREAT | O_TRUNC, 0644));
	SHOW(attributes("f").st_size);
	put_file("f", "text");
	OPEN(open("f", O_WRONLY | O_CREAT | O_EXCL | O_TRUNC, 0644));
	SHOW(attributes("f").st_size);
	mkdir("d", 0777);
	OPEN(open("d", O_RDONLY | O_TRUNC));
	OPEN(open("d", O_WRONLY));
	OPEN(open("d", O_RDONLY | O_CREAT, 0644));
}

static void open_truncates_under_reader(void)
{
	char text[8] = "";
	int fd;

	put_file("f", "content");
	fd = OPEN(open("f", O_RDONLY));
	TRY(read(fd, text, 3));
	OPEN(open("f", O_WRONLY | O_TRUNC));
	TRY(read(fd, text, 8));
	put_file("f", "new content");
	TRY(pread(fd, text, 7, 4));
	TEXT(text);
}

static void open_appends(void)
{
	char text[16] = "";
	int fd, other;

	put_file("f", "one");
	fd = OPEN(open("f", O_RDWR | O_APPEND));
	other = OPEN(open("f", O_RDWR));
	TRY(write(fd, "two", 3));
	TRY(lseek(fd, 0, SEEK_CUR));
	TRY(pwrite(other, "xxx", 3, 10));
	TRY(write(fd, "end", 3));
	SHOW(attributes("f").st_size);
	TRY(lseek(fd, 0, SEEK_SET));
	TRY(write(fd, "!", 1));
	TRY(pread(other, text, 16, 10));
	TEXT(text);
	/* On Linux pwrite appends too. */
	TRY(pwrite(fd, "p", 1, 0));
	SHOW(attributes("f").st_size);
	TRY(fcntl(fd, F_SETFL, 0));
	TRY(pwrite(fd, "O", 1, 0));
	TRY(pread(other, text, 3, 0));
	TRY(fcntl(other, F_SETFL, O_APPEND));
	TRY(write(other, "z", 1));
	SHOW(attributes("f").st_size);
}

static void open_two_appenders(void)
{
	int a, b, wrong = 0;

	put_file("f", "");
	a = OPEN(open("f", O_WRONLY | O_APPEND));
	b = OPEN(open("f", O_WRONLY | O_APPEND));
	for (int i = 0; i < 100; i++) {
		wrong += write(a, "a", 1) != 1;
		wrong += write(b, "b", 1) != 1;
	}
	SHOW(wrong);
	SHOW(attributes("f").st_size);
	for (const char *p = get_file("f"); *p; p += 2)
		wrong += p[0] != 'a' || p[1] != 'b';
	SHOW(wrong);
}

static void open_access_modes(void)
{
	char c;
	int r, w;

	put_file("f", "x");
	r = OPEN(open("f", O_RDONLY));
	w = OPEN(open("f", O_WRONLY));
	TRY(write(r, "y", 1));
	TRY(read(w, &c, 1));
	TRY(ftruncate(r, 0));
	TRY(pwrite(r, "y", 1, 0));
	TRY(pread(w, &c, 1, 0));
	TRY(fcntl(r, F_GETFL) & O_ACCMODE);
	TRY(fcntl(w, F_GETFL) & O_ACCMODE);
	TRY(fallocate(r, 0, 0, 10));
}

static void open_directory_is_not_a_file(void)
{
	char c;
	int fd;

	mkdir("d", 0777);
	fd = OPEN(open("d", O_RDONLY));
	TRY(read(fd, &c, 1));
	TRY(pread(fd, &c, 1, 0));
	TRY(write(fd, "x", 1));
	TRY(ftruncate(fd, 0));
	TRY(fsync(fd));
	TRY(fdatasync(fd));
	TRY(truncate("d", 0));
}

static void open_paths_only(void)
{
	char c;
	struct stat st;
	int fd;

	put_file("f", "text");
	fd = OPEN(open("f", O_PATH));
	TRY(read(fd, &c, 1));
	TRY(syscall(SYS_fchmod, fd, 0600));
	TRY(fstat(fd, &st));
	SHOW(st.st_size);
	TRY(ftruncate(fd, 0));
	TRY(rename("f", "g"));
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	TEXT(get_file(path));
	TRY(fstatat(fd, "", &st, AT_EMPTY_PATH));
	SHOW(st.st_size);
}

static void open_without_a_name(void)
{
	char text[8] = "";
	struct stat st;
	int fd = OPEN(open(".", O_TMPFILE | O_RDWR, 0640));

	TRY(write(fd, "text", 4));
	TRY(pread(fd, text, 8, 0));
	TRY(fstat(fd, &st));
	SHOW(st.st_nlink);
	OCTAL(st.st_mode);
	SHOW(count_entries("."));
	OPEN(open("none", O_TMPFILE | O_RDWR, 0640));
	OPEN(open(".", O_TMPFILE | O_RDONLY, 0640));
}

static void open_again_by_descriptor(void)
{
	char path[64];
	int fd, again;

	put_file("f", "text");
	fd = OPEN(open("f", O_RDONLY));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = OPEN(open(path, O_RDWR));
	TRY(pwrite(again, "more", 4, 4));
	TEXT(get_file("f"));
	TRY(unlink("f"));
	again = OPEN(open(path, O_RDWR | O_TRUNC));
	struct stat st;

	TRY(fstat(fd, &st));
	SHOW(st.st_size);
	TRY(pwrite(again, "x", 1, 0));
	TRY(fstat(fd, &st));
	SHOW(st.st_size);
}

static void open_relative_to_directory(void)
{
	int d, f;

	mkdir("d", 0777);
	d = OPEN(open("d", O_RDONLY | O_DIRECTORY));
	f = OPEN(openat(d, "f", O_CREAT | O_RDWR, 0644));
	TRY(rename("d", "e"));
	OPEN(openat(d, "f", O_RDONLY));
	TRY(mkdirat(d, "sub", 0777));
	TRY(symlinkat("f", d, "s"));
	TRY(linkat(d, "f", AT_FDCWD, "g", 0));
	OPEN(openat(f, "x", O_RDONLY));
	OPEN(openat(-1, "x", O_RDONLY));
	OPEN(openat(d, "../g", O_RDONLY));
	SHOW(count_entries("e"));
}

static void open_synchronous(void)
{
	static const int flags[] = { O_SYNC, O_DSYNC, O_RSYNC, O_NOATIME, O_LARGEFILE, O_NONBLOCK, O_NOCTTY };

	put_file("f", "");
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		int fd = OPEN(open("f", O_RDWR | O_APPEND | flags[i]));

		TRY(write(fd, "text", 4));
		TRY(fcntl(fd, F_GETFL) & (O_SYNC | O_DSYNC | O_NOATIME | O_NONBLOCK));
		SHOW(attributes("f").st_size);
	}
}

static void open_ends_in_slash(void)
{
	put_file("f", "");
	mkdir("d", 0777);
	symlink("d", "s");
	symlink("f", "t");
	OPEN(open("s", O_RDONLY | O_DIRECTORY));
	OPEN(open("s", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
	OPEN(open("s/", O_RDONLY | O_NOFOLLOW));
	OPEN(open("t", O_RDONLY | O_DIRECTORY));
	OPEN(open("t", O_RDONLY | O_NOFOLLOW));
	OPEN(open("f/", O_RDONLY));
	OPEN(open("f/.", O_RDONLY));
	OPEN(open("new/", O_CREAT | O_WRONLY, 0666));
	OPEN(open("d/", O_RDONLY));
	OPEN(open("", O_RDONLY));
	OPEN(open("d/..", O_RDONLY));
}

static void open_many(void)
{
	static int fds[400];
	char name[16];
	int wrong = 0;

	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		fds[i] = open(name, O_CREAT | O_RDWR | O_EXCL, 0644);
		wrong += fds[i] == -1 || write(fds[i], name, 4) != 4;
	}
	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		wrong += unlink(name) != 0;
	}
	for (int i = 0; i < 400; i++) {
		char text[8] = "";

		snprintf(name, sizeof(name), "f%d", i);
		wrong += pread(fds[i], text, 4, 0) != 4 || strncmp(text, name, 4) != 0;
	}
	SHOW(wrong);
}

static void open_how(void)
{
	struct { uint64_t flags, mode, resolve; } how = { O_RDONLY, 0, 0 };

	mkdir("d", 0777);
	put_file("d/f", "text");
	put_file("out", "text");
	symlink("../out", "d/leads_out");
	symlink("f", "d/inside");
	int d = OPEN(open("d", O_RDONLY | O_DIRECTORY));

	how.resolve = 8; /* RESOLVE_BENEATH */
	OPEN(syscall(SYS_openat2, d, "f", &how, sizeof(how)));
	OPEN(syscall(SYS_openat2, d, "inside", &how, sizeof(how)));
	OPEN(syscall(SYS_openat2, d, "leads_out", &how, sizeof(how)));
	OPEN(syscall(SYS_openat2, d, "../out", &how, sizeof(how)));
	how.resolve = 4; /* RESOLVE_NO_SYMLINKS */
	OPEN(syscall(SYS_openat2, d, "inside", &how, sizeof(how)));
	how.resolve = 1; /* RESOLVE_NO_XDEV */
	OPEN(syscall(SYS_openat2, d, "f", &how, sizeof(how)));
}

const struct fs_case open_cases[] = {
	{ "open_creates", open_creates, false },
	{ "open_exclusive_over_kinds", open_exclusive_over_kinds, false },
	{ "open_kinds", open_kinds, false },
	{ "open_truncates", open_truncates, false },
	{ "open_truncates_under_reader", open_truncates_under_reader, false },
	{ "open_appends", open_appends, false },
	{ "open_two_appenders", open_two_appenders, false },
	{ "open_access_modes", open_access_modes, false },
	{ "open_directory_is_not_a_file", open_directory_is_not_a_file, false },
	{ "open_paths_only", open_paths_only, false },
	{ "open_without_a_name", open_without_a_name, false },
	{ "open_again_by_descriptor", open_again_by_descriptor, false },
	{ "open_relative_to_directory", open_relative_to_directory, false },
	{ "open_synchronous", open_synchronous, false },
	{ "open_ends_in_slash", open_ends_in_slash, false },
	{ "open_many", open_many, false },
	{ "open_how", open_how, false },
	{ 0 }
};
