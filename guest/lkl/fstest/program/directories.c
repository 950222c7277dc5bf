/* SPDX-License-Identifier: MPL-2.0 */
/* Reading directories, and names. */
#define _GNU_SOURCE
#include "fstest.h"

#include <dirent.h>
#include <limits.h>
#include <sys/syscall.h>

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void directory_entries(void)
{
	char *names[16];
	int n = 0;
	DIR *d;

	for (int kind = 0; kind < KINDS; kind++)
		make_kind(kind, kind_names[kind]);
	d = opendir(".");
	for (struct dirent *e; (e = readdir(d)) && n < 16;) {
		char line[300];

		snprintf(line, sizeof(line), "%s type %d %s", e->d_name, e->d_type,
			 e->d_ino == attributes(e->d_name).st_ino ? "same inode" : "another inode");
		names[n++] = strdup(line);
	}
	closedir(d);
	qsort(names, (size_t)n, sizeof(names[0]), compare_names);
	for (int i = 0; i < n; i++)
		fs_label(names[i]);
}

static void make_files(int n)
{
	char name[32];

	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "file%d", i);
		int fd = open(name, O_CREAT | O_WRONLY | O_EXCL, 0644);

		if (fd == -1)
			TRY(-1);
		close(fd);
	}
}

#define MANY 20000

/* Each entry must occur once. */
static void directory_of_many(void)
{
	static unsigned char seen[MANY];
	int twice = 0, missing = 0, other = 0, number;
	DIR *d;

	make_files(MANY);
	d = opendir(".");
	for (struct dirent *e; (e = readdir(d));) {
		if (sscanf(e->d_name, "file%d", &number) == 1 && number >= 0 && number < MANY)
			twice += seen[number]++ != 0;
		else
			other++;
	}
	for (int i = 0; i < MANY; i++)
		missing += !seen[i];
	SHOW(twice);
	SHOW(missing);
	SHOW(other);
	rewinddir(d);
	number = 0;
	while (readdir(d))
		number++;
	SHOW(number);
	closedir(d);
	TRY(access("file12345", F_OK));
	TRY(access("file20000", F_OK));
}

static void directory_removes_while_reading(void)
{
	int removed = 0;
	DIR *d;

	make_files(3000);
	d = opendir(".");
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.')
			removed += unlink(e->d_name) == 0;
	closedir(d);
	SHOW(removed);
	SHOW(count_entries("."));
}

static void directory_grows_while_reading(void)
{
	static unsigned char seen[500];
	int twice = 0, missing = 0, number, n = 0;
	char name[32];
	DIR *d;

	make_files(500);
	d = opendir(".");
	for (struct dirent *e; (e = readdir(d));) {
		if (sscanf(e->d_name, "file%d", &number) == 1)
			twice += seen[number]++ != 0;
		if (++n % 10 == 0 && n < 500) {
			snprintf(name, sizeof(name), "new%d", n);
			put_file(name, "");
		}
	}
	for (int i = 0; i < 500; i++)
		missing += !seen[i];
	SHOW(twice);
	SHOW(missing);
	SHOW(count_entries("."));
}

static void directory_rewind_sees_changes(void)
{
	DIR *d = opendir(".");
	int n = 0;

	while (readdir(d))
		n++;
	SHOW(n);
	put_file("f", "");
	mkdir("d", 0777);
	rewinddir(d);
	for (n = 0; readdir(d);)
		n++;
	SHOW(n);
	unlink("f");
	rewinddir(d);
	for (n = 0; readdir(d);)
		n++;
	SHOW(n);
	closedir(d);
}

static void directory_seeks(void)
{
	static char names[300][32];
	static long places[300];
	int n = 0, wrong = 0;
	DIR *d;

	make_files(250);
	d = opendir(".");
	for (;;) {
		struct dirent *e;

		places[n] = telldir(d);
		e = readdir(d);
		if (!e)
			break;
		snprintf(names[n++], 32, "%.31s", e->d_name);
	}
	SHOW(n);
	for (int i = 0; i < n; i++) {
		int k = i * 101 % n;

		seekdir(d, places[k]);
		struct dirent *e = readdir(d);

		wrong += !e || strcmp(e->d_name, names[k]) != 0;
	}
	SHOW(wrong);
	seekdir(d, places[n]);
	SHOW(readdir(d) != NULL);
	closedir(d);
}

static void directory_small_buffer(void)
{
	char buffer[32], large[4096];
	int fd;

	put_file("a_name_that_is_rather_long", "");
	fd = OPEN(open(".", O_RDONLY | O_DIRECTORY));
	long n = syscall(SYS_getdents64, fd, buffer, 10);

	TRY(n);
	TRY(lseek(fd, 0, SEEK_SET));
	TRY(syscall(SYS_getdents64, fd, large, sizeof(large)) > 0);
	TRY(syscall(SYS_getdents64, fd, large, sizeof(large)));
	TRY(lseek(fd, 0, SEEK_SET));
	TRY(syscall(SYS_getdents64, fd, large, sizeof(large)) > 0);
	put_file("f", "");
	fd = OPEN(open("f", O_RDONLY));
	TRY(syscall(SYS_getdents64, fd, large, sizeof(large)));
}

static void directory_two_readers(void)
{
	int a_count = 0, b_count = 0;
	DIR *a, *b;

	make_files(300);
	a = opendir(".");
	b = opendir(".");
	for (int i = 0; i < 150; i++)
		a_count += readdir(a) != NULL;
	while (readdir(b))
		b_count++;
	while (readdir(a))
		a_count++;
	SHOW(a_count);
	SHOW(b_count);
	closedir(a);
	closedir(b);
}

static void directory_of_other_kinds(void)
{
	put_file("f", "");
	symlink("none", "s");
	SHOW(opendir("f") == NULL);
	SHOW(opendir("none") == NULL);
	SHOW(opendir("s") == NULL);
	SHOW(opendir("") == NULL);
	SHOW(count_entries("."));
}

static void name_of_255_bytes(void)
{
	char name[300];

	memset(name, 'n', sizeof(name));
	name[255] = 0;
	put_file(name, "text");
	TEXT(get_file(name));
	TRY(mkdir("d", 0777));
	TRY(rename(name, "short"));
	TRY(rename("short", name));
	TRY(link(name, "l"));
	TRY(symlink(name, "s"));
	TEXT(get_file("s"));
	SHOW(count_entries("."));
	TRY(unlink(name));
	TRY(mkdir(name, 0777));
	TRY(rmdir(name));
	TRY(mkfifo(name, 0666));
}

static void name_too_long(void)
{
	struct stat st;
	char name[300];

	memset(name, 'n', sizeof(name));
	name[256] = 0;
	put_file("f", "");
	OPEN(open(name, O_CREAT | O_WRONLY, 0666));
	TRY(mkdir(name, 0777));
	TRY(link("f", name));
	TRY(symlink("f", name));
	TRY(rename("f", name));
	TRY(rename(name, "f"));
	TRY(unlink(name));
	TRY(rmdir(name));
	TRY(mkfifo(name, 0666));
	TRY(stat(name, &st));
	TRY(chmod(name, 0644));
	TRY(truncate(name, 0));
}

static void name_path_too_long(void)
{
	static char path[PATH_MAX + 10];

	for (int i = 0; i < PATH_MAX; i++)
		path[i] = i % 2 ? '/' : '.';
	path[PATH_MAX - 1] = 0;
	TRY(access(path, F_OK));
	path[PATH_MAX - 1] = '.';
	path[PATH_MAX] = 0;
	TRY(access(path, F_OK));
	TRY(mkdir(path, 0777));
}

static void name_of_any_bytes(void)
{
	char name[3] = "x";
	int failures = 0;

	for (int c = 1; c < 256; c++) {
		if (c == '/')
			continue;
		name[1] = (char)c;
		failures += mkdir(name, 0777) != 0;
	}
	SHOW(failures);
	SHOW(count_entries("."));
	TRY(mkdir("\xc3\xa9", 0777));
	TRY(access("e\xcc\x81", F_OK));
	TRY(mkdir("UPPER", 0777));
	TRY(access("upper", F_OK));
	TRY(mkdir(" ", 0777));
	TRY(mkdir("...", 0777));
	TRY(rmdir("..."));
	TRY(mkdir("a//b", 0777));
	TRY(mkdir("a", 0777));
	TRY(mkdir("a//b//", 0777));
	TRY(access("./a/././b/../b", F_OK));
}

const struct fs_case directory_cases[] = {
	{ "directory_entries", directory_entries, false },
	{ "directory_of_many", directory_of_many, false },
	{ "directory_removes_while_reading", directory_removes_while_reading, false },
	{ "directory_grows_while_reading", directory_grows_while_reading, false },
	{ "directory_rewind_sees_changes", directory_rewind_sees_changes, false },
	{ "directory_seeks", directory_seeks, false },
	{ "directory_small_buffer", directory_small_buffer, false },
	{ "directory_two_readers", directory_two_readers, false },
	{ "directory_of_other_kinds", directory_of_other_kinds, false },
	{ 0 }
};

const struct fs_case name_cases[] = {
	{ "name_of_255_bytes", name_of_255_bytes, false },
	{ "name_too_long", name_too_long, false },
	{ "name_path_too_long", name_path_too_long, false },
	{ "name_of_any_bytes", name_of_any_bytes, false },
	{ 0 }
};
