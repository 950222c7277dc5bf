/* SPDX-License-Identifier: MPL-2.0 */
/* Times of files: which calls change them, and utimensat. */
#define _GNU_SOURCE
#include "fstest.h"

#include <sys/time.h>
#include <sys/xattr.h>

/* Prints which times of a file a step has changed. */
static void changed(const char *step, const struct stat *before, const char *path)
{
	struct stat now = attributes(path);

	printf("  %s: atime %d mtime %d ctime %d\n", step, compare_times(now.st_atim, before->st_atim),
	       compare_times(now.st_mtim, before->st_mtim), compare_times(now.st_ctim, before->st_ctim));
}

#define STEP(path, call) do {				\
	struct stat before_;				\
							\
	next_tick();					\
	before_ = attributes(path);			\
	if ((long)(call) == -1)				\
		TRY(-1);				\
	changed(#call, &before_, path);			\
} while (0)

static void time_of_file(void)
{
	int fd = OPEN(open("f", O_CREAT | O_RDWR, 0644));

	STEP("f", write(fd, "text", 4));
	STEP("f", pwrite(fd, "", 0, 0));
	STEP("f", ftruncate(fd, 2));
	STEP("f", ftruncate(fd, 2));
	STEP("f", ftruncate(fd, 100));
	STEP("f", truncate("f", 100));
	STEP("f", truncate("f", 50));
	STEP("f", open("f", O_WRONLY | O_TRUNC));
	STEP("f", open("f", O_RDONLY | O_CREAT, 0644));
	STEP("f", fsync(fd));
	STEP("f", fallocate(fd, 0, 0, 4096));
	STEP("f", chmod("f", 0600));
	STEP("f", chmod("f", 0600));
	STEP("f", chown("f", -1, getegid()));
	STEP("f", setxattr("f", "user.a", "b", 1, 0));
	STEP("f", access("f", R_OK));
}

static void time_of_links(void)
{
	put_file("f", "text");
	STEP("f", link("f", "g"));
	STEP("f", rename("g", "h"));
	STEP("f", unlink("h"));
	STEP("f", rename("f", "i"));
	STEP("i", rename("i", "f"));
	symlink("f", "s");
	STEP("s", access("s", F_OK));
	STEP("s", rename("s", "t"));
}

static void time_of_directory(void)
{
	char path[64] = "d";

	mkdir("d", 0777);
	STEP(path, close(open("d/f", O_CREAT | O_WRONLY, 0666)));
	STEP(path, close(open("d/f", O_CREAT | O_WRONLY | O_TRUNC, 0666)));
	STEP(path, chmod("d/f", 0600));
	STEP(path, link("d/f", "d/g"));
	STEP(path, rename("d/f", "d/h"));
	STEP(path, rename("d/g", "out"));
	STEP(path, rename("out", "d/in"));
	STEP(path, unlink("d/h"));
	STEP(path, mkdir("d/e", 0777));
	STEP(path, mkdir("d/e/f", 0777));
	STEP(path, rmdir("d/e/f"));
	STEP(path, rmdir("d/e"));
	STEP(path, symlink("x", "d/s"));
	STEP(path, mkfifo("d/p", 0666));
	STEP(path, unlink("d/none") + 1);
	STEP(path, mkdir("d/s", 0777) + 1);
}

static void time_of_renamed_directory(void)
{
	mkdir("a", 0777);
	mkdir("b", 0777);
	mkdir("a/d", 0777);
	STEP("b", rename("a/d", "b/d"));
	STEP("a", rename("b/d", "a/d"));
	STEP("a/d", access("a/d", F_OK));
}

static void show_times(const char *path)
{
	struct stat st = attributes(path);

	printf("  %s: %lld.%09ld %lld.%09ld\n", path, (long long)st.st_atim.tv_sec, st.st_atim.tv_nsec,
	       (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static void utimes_kinds(void)
{
	const struct timespec t[2] = { { 1234567890, 123456789 }, { 1000000000, 987654321 } };

	for (int kind = 0; kind < KINDS; kind++) {
		make_kind(kind, kind_names[kind]);
		TRY(utimensat(AT_FDCWD, kind_names[kind], t, AT_SYMLINK_NOFOLLOW));
		show_times(kind_names[kind]);
	}
}

static void utimes_far_times(void)
{
	static const long long seconds[] = { 0, 1, -1, -86400, 2147483647, 2147483648, 4294967295, 4294967296, 15000000000 };

	put_file("f", "");
	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		struct timespec t[2] = { { seconds[i], 0 }, { seconds[i], 999999999 } };

		TRY(utimensat(AT_FDCWD, "f", t, 0));
		show_times("f");
	}
}

static void utimes_now_and_omit(void)
{
	struct timespec t[2] = { { 1000, 0 }, { 2000, 0 } };
	const struct timespec old[2] = { { 1000, 0 }, { 2000, 0 } };
	struct timespec now;

	put_file("f", "");
	TRY(utimensat(AT_FDCWD, "f", t, 0));
	t[0].tv_nsec = UTIME_OMIT;
	t[1].tv_sec = 3000;
	TRY(utimensat(AT_FDCWD, "f", t, 0));
	show_times("f");
	t[0] = old[0];
	t[1].tv_nsec = UTIME_OMIT;
	TRY(utimensat(AT_FDCWD, "f", t, 0));
	show_times("f");
	t[0].tv_nsec = t[1].tv_nsec = UTIME_OMIT;
	STEP("f", utimensat(AT_FDCWD, "f", t, 0));
	t[0].tv_nsec = UTIME_NOW;
	TRY(utimensat(AT_FDCWD, "f", t, 0));
	clock_gettime(CLOCK_REALTIME, &now);
	SHOW(llabs(attributes("f").st_atim.tv_sec - now.tv_sec) < 60);
	SHOW(attributes("f").st_mtim.tv_sec);
	TRY(utimensat(AT_FDCWD, "f", NULL, 0));
	SHOW(compare_times(attributes("f").st_atim, attributes("f").st_mtim));
	t[0].tv_nsec = 1000000000;
	TRY(utimensat(AT_FDCWD, "f", t, 0));
}

static void utimes_of_descriptor(void)
{
	const struct timespec t[2] = { { 1000, 5 }, { 2000, 6 } };
	struct stat st;
	int fd;

	put_file("f", "");
	fd = OPEN(open("f", O_RDONLY));
	TRY(futimens(fd, t));
	show_times("f");
	TRY(unlink("f"));
	TRY(futimens(fd, NULL));
	TRY(fstat(fd, &st));
	SHOW(st.st_mtim.tv_sec > 2000);
	TRY(futimens(-1, t));
}

static void utimes_changes_ctime(void)
{
	const struct timespec t[2] = { { 1000, 0 }, { 2000, 0 } };

	put_file("f", "");
	STEP("f", utimensat(AT_FDCWD, "f", t, 0));
	STEP("f", utimensat(AT_FDCWD, "f", t, 0));
	symlink("f", "s");
	TRY(utimensat(AT_FDCWD, "s", t, AT_SYMLINK_NOFOLLOW));
	SHOW(attributes("s").st_mtim.tv_sec);
	STEP("f", utimensat(AT_FDCWD, "s", NULL, 0));
}

static void utimes_errors(void)
{
	put_file("f", "");
	symlink("loop", "loop");
	TRY(utimensat(AT_FDCWD, "none", NULL, 0));
	TRY(utimensat(AT_FDCWD, "f/x", NULL, 0));
	TRY(utimensat(AT_FDCWD, "loop", NULL, 0));
	TRY(utimensat(AT_FDCWD, "", NULL, 0));
	TRY(utimensat(AT_FDCWD, "f", NULL, 77));
}

/* A writer may set the time to now; only the owner may set another time. */
static void utimes_by_user(void)
{
	const struct timespec t[2] = { { 1000, 0 }, { 2000, 0 } };
	const struct timespec now[2] = { { 0, UTIME_NOW }, { 0, UTIME_NOW } };

	put_file("f", "");
	TRY(chmod("f", 0666));
	become(USER, USER);
	TRY(utimensat(AT_FDCWD, "f", t, 0));
	TRY(utimensat(AT_FDCWD, "f", now, 0));
	TRY(utimensat(AT_FDCWD, "f", NULL, 0));
	become_first();
	TRY(chmod("f", 0644));
	become(USER, USER);
	TRY(utimensat(AT_FDCWD, "f", NULL, 0));
	become_first();
	TRY(chown("f", USER, USER));
	become(USER, USER);
	TRY(utimensat(AT_FDCWD, "f", t, 0));
	TRY(chmod("f", 0));
	TRY(utimensat(AT_FDCWD, "f", NULL, 0));
}

static void time_order(void)
{
	struct stat a, b;

	put_file("a", "");
	next_tick();
	put_file("b", "");
	a = attributes("a");
	b = attributes("b");
	SHOW(compare_times(a.st_mtim, b.st_mtim));
	SHOW(compare_times(a.st_mtim, a.st_ctim));
	next_tick();
	put_file("a", "text");
	a = attributes("a");
	SHOW(compare_times(a.st_mtim, b.st_mtim));
	SHOW(compare_times(a.st_mtim, a.st_ctim));
	SHOW(compare_times(a.st_atim, a.st_mtim));
}

static void time_survives_reads(void)
{
	struct stat before;

	put_file("f", "text");
	next_tick();
	before = attributes("f");
	TEXT(get_file("f"));
	SHOW(compare_times(attributes("f").st_mtim, before.st_mtim));
	SHOW(compare_times(attributes("f").st_ctim, before.st_ctim));
	mkdir("d", 0777);
	before = attributes("d");
	SHOW(count_entries("d"));
	SHOW(compare_times(attributes("d").st_mtim, before.st_mtim));
}

const struct fs_case time_cases[] = {
	{ "time_of_file", time_of_file, false },
	{ "time_of_links", time_of_links, false },
	{ "time_of_directory", time_of_directory, false },
	{ "time_of_renamed_directory", time_of_renamed_directory, false },
	{ "time_order", time_order, false },
	{ "time_survives_reads", time_survives_reads, false },
	{ "utimes_kinds", utimes_kinds, false },
	{ "utimes_far_times", utimes_far_times, false },
	{ "utimes_now_and_omit", utimes_now_and_omit, false },
	{ "utimes_of_descriptor", utimes_of_descriptor, false },
	{ "utimes_changes_ctime", utimes_changes_ctime, false },
	{ "utimes_errors", utimes_errors, false },
	{ "utimes_by_user", utimes_by_user, true },
	{ 0 }
};
