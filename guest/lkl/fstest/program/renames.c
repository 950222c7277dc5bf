/* SPDX-License-Identifier: MPL-2.0 */
/* rename and renameat2. */
#define _GNU_SOURCE
#include "fstest.h"

#include <sys/syscall.h>

#define NO_REPLACE 1
#define EXCHANGE 2

static long rename2(const char *from, const char *to, unsigned int flags)
{
	return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

static void rename_kinds(void)
{
	for (int kind = 0; kind < KINDS; kind++) {
		struct stat before;

		fs_label(kind_names[kind]);
		make_kind(kind, "f");
		mkdir("d", 0777);
		before = attributes("f");
		TRY(rename("f", "g"));
		TRY(rename("g", "d/h"));
		SHOW(attributes("d/h").st_ino == before.st_ino);
		SHOW(attributes("d/h").st_mode == before.st_mode);
		SHOW(attributes("d/h").st_nlink == before.st_nlink);
		SHOW(attributes("d/h").st_dev == before.st_dev);
		SHOW(attributes("g").st_nlink);
		SHOW(count_entries("."));
		remove("d/h");
		rmdir("d");
	}
}

/* Every kind over every kind. */
static void rename_over(int kind)
{
	for (int over = 0; over < KINDS; over++) {
		fs_label(kind_names[over]);
		make_kind(kind, "f");
		make_kind(over, "g");
		TRY(rename("f", "g"));
		OCTAL(mode_of("f"));
		OCTAL(mode_of("g"));
		TRY(rename2("g", "f", NO_REPLACE));
		TRY(rename2("g", "f", EXCHANGE));
		OCTAL(mode_of("f"));
		OCTAL(mode_of("g"));
		remove("f");
		remove("g");
	}
}

static void rename_regular_over(void) { rename_over(0); }
static void rename_directory_over(void) { rename_over(1); }
static void rename_fifo_over(void) { rename_over(2); }
static void rename_socket_over(void) { rename_over(3); }
static void rename_symlink_over(void) { rename_over(4); }

static void rename_over_open_file(void)
{
	char text[8] = "";
	int fd;
	struct stat st;

	put_file("old", "old");
	put_file("new", "new");
	fd = OPEN(open("old", O_RDWR));
	TRY(rename("new", "old"));
	TEXT(get_file("old"));
	TRY(pread(fd, text, 8, 0));
	TEXT(text);
	TRY(fstat(fd, &st));
	SHOW(st.st_nlink);
	TRY(write(fd, "OLD", 3));
	TRY(pread(fd, text, 8, 0));
	TEXT(text);
	TEXT(get_file("old"));
}

static void rename_of_open_file(void)
{
	char text[8] = "";
	int fd = OPEN(open("f", O_CREAT | O_RDWR, 0644));

	TRY(rename("f", "g"));
	TRY(write(fd, "text", 4));
	TEXT(get_file("g"));
	mkdir("d", 0777);
	TRY(rename("g", "d/h"));
	TRY(ftruncate(fd, 2));
	TEXT(get_file("d/h"));
	TRY(pread(fd, text, 8, 0));
	TRY(fchmod(fd, 0600));
	OCTAL(mode_of("d/h"));
}

static void rename_over_full_directory(void)
{
	mkdir("a", 0777);
	mkdir("b", 0777);
	put_file("a/f", "a");
	put_file("b/f", "b");
	TRY(rename("a", "b"));
	TRY(unlink("b/f"));
	TRY(rename("a", "b"));
	TEXT(get_file("b/f"));
	SHOW(count_entries("."));
}

static void rename_into_itself(void)
{
	mkdir("d", 0777);
	mkdir("d/e", 0777);
	mkdir("d/e/f", 0777);
	TRY(rename("d", "d/x"));
	TRY(rename("d", "d/e/x"));
	TRY(rename("d", "d/e/f"));
	TRY(rename("d/e", "d"));
	TRY(rename("d", "d"));
	TRY(rename("d/e", "d/e"));
	TRY(rename2("d", "d/e", EXCHANGE));
	TRY(rename2("d/e", "d", EXCHANGE));
	TRY(rename("d/.", "x"));
	TRY(rename("d/..", "x"));
	TRY(rename("d", "."));
	TRY(rename("d/e", ".."));
}

static void rename_of_links_to_one_file(void)
{
	put_file("f", "text");
	link("f", "g");
	TRY(rename("f", "g"));
	SHOW(count_entries("."));
	SHOW(attributes("f").st_nlink);
	TRY(rename("f", "f"));
	TRY(rename2("f", "g", NO_REPLACE));
	TRY(rename2("f", "g", EXCHANGE));
	SHOW(count_entries("."));
}

static void rename_decrements_links(void)
{
	put_file("f", "text");
	put_file("g", "");
	link("g", "h");
	TRY(rename("f", "g"));
	SHOW(attributes("h").st_nlink);
	SHOW(attributes("g").st_nlink);
}

static void rename_errors(void)
{
	put_file("f", "");
	mkdir("d", 0777);
	symlink("loop", "loop");
	TRY(rename("none", "x"));
	TRY(rename("f", "none/x"));
	TRY(rename("f", "f/x"));
	TRY(rename("f/x", "x"));
	TRY(rename("loop/x", "x"));
	TRY(rename("f", "loop/x"));
	TRY(rename("", "x"));
	TRY(rename("f", ""));
	TRY(rename("f", "x/"));
	TRY(rename("f", "d/"));
	TRY(rename("f/", "x"));
	TRY(rename("d/", "e/"));
	TRY(rename("e", "f"));
	TRY(rename("f", "/proc/x"));
	TRY(rename("f", "/dev/null/x"));
}

static void rename_flags(void)
{
	put_file("f", "f");
	put_file("g", "g");
	TRY(rename2("f", "g", NO_REPLACE));
	TRY(rename2("f", "h", NO_REPLACE));
	TRY(rename2("h", "f", 0));
	TRY(rename2("f", "none", EXCHANGE));
	TRY(rename2("none", "f", EXCHANGE));
	TRY(rename2("f", "g", NO_REPLACE | EXCHANGE));
	TRY(rename2("f", "g", 64));
	TRY(rename2("f", "g", EXCHANGE));
	TEXT(get_file("f"));
	TEXT(get_file("g"));
}

static void rename_exchanges_directories(void)
{
	mkdir("a", 0777);
	mkdir("b", 0777);
	mkdir("a/x", 0777);
	put_file("b/f", "text");
	TRY(rename2("a/x", "b", EXCHANGE));
	TEXT(get_file("a/x/f"));
	SHOW(count_entries("b"));
	SHOW(attributes("a").st_nlink);
	SHOW(attributes("a/x/..").st_ino == attributes("a").st_ino);
	SHOW(attributes("b/..").st_ino == attributes(".").st_ino);
}

static void rename_changes_parent(void)
{
	mkdir("a", 0777);
	mkdir("b", 0777);
	mkdir("a/d", 0777);
	SHOW(attributes("a").st_nlink);
	TRY(rename("a/d", "b/d"));
	SHOW(attributes("a").st_nlink);
	SHOW(attributes("b").st_nlink);
	SHOW(attributes("b/d/..").st_ino == attributes("b").st_ino);
}

/* A descriptor or a working directory follows its directory. */
static void rename_of_working_directory(void)
{
	char path[4096];
	int fd;

	mkdir("d", 0777);
	mkdir("e", 0777);
	TRY(chdir("d"));
	fd = OPEN(open(".", O_RDONLY | O_DIRECTORY));
	TRY(rename("../d", "../e/moved"));
	put_file("f", "text");
	TEXT(get_file("../moved/f"));
	TEXT(get_file("../../e/moved/f"));
	SHOW(getcwd(path, sizeof(path)) != NULL);
	TEXT(strstr(path, "rename_of_working_directory"));
	OPEN(openat(fd, "f", O_RDONLY));
	TRY(renameat(fd, "f", AT_FDCWD, "../../g"));
	SHOW(count_entries("."));
}

static void rename_many_times(void)
{
	struct stat before;
	int failures = 0;

	put_file("a", "text");
	before = attributes("a");
	for (int i = 0; i < 500; i++)
		failures += rename(i % 2 ? "b" : "a", i % 2 ? "a" : "b") != 0;
	SHOW(failures);
	SHOW(attributes("a").st_ino == before.st_ino);
	TEXT(get_file("a"));
}

/* As programs replace a configuration: write beside it, and rename. */
static void rename_replaces_content(void)
{
	char text[32];
	int wrong = 0;

	for (int i = 0; i < 200; i++) {
		snprintf(text, sizeof(text), "version %d", i);
		put_file("new", text);
		rename("new", "file");
		wrong += strcmp(get_file("file"), text) != 0;
	}
	SHOW(wrong);
	SHOW(count_entries("."));
}

static void rename_to_directory_and_back(void)
{
	put_file("name", "text");
	TRY(unlink("name"));
	TRY(mkdir("name", 0777));
	put_file("name/f", "text");
	SHOW(count_entries("name"));
	TRY(unlink("name/f"));
	TRY(rmdir("name"));
	put_file("name", "again");
	TEXT(get_file("name"));
	TRY(unlink("name"));
	TRY(symlink("x", "name"));
	OCTAL(mode_of("name") & S_IFMT);
}

const struct fs_case rename_cases[] = {
	{ "rename_kinds", rename_kinds, false },
	{ "rename_regular_over", rename_regular_over, false },
	{ "rename_directory_over", rename_directory_over, false },
	{ "rename_fifo_over", rename_fifo_over, false },
	{ "rename_socket_over", rename_socket_over, false },
	{ "rename_symlink_over", rename_symlink_over, false },
	{ "rename_over_open_file", rename_over_open_file, false },
	{ "rename_of_open_file", rename_of_open_file, false },
	{ "rename_over_full_directory", rename_over_full_directory, false },
	{ "rename_into_itself", rename_into_itself, false },
	{ "rename_of_links_to_one_file", rename_of_links_to_one_file, false },
	{ "rename_decrements_links", rename_decrements_links, false },
	{ "rename_errors", rename_errors, false },
	{ "rename_flags", rename_flags, false },
	{ "rename_exchanges_directories", rename_exchanges_directories, false },
	{ "rename_changes_parent", rename_changes_parent, false },
	{ "rename_of_working_directory", rename_of_working_directory, false },
	{ "rename_many_times", rename_many_times, false },
	{ "rename_replaces_content", rename_replaces_content, false },
	{ "rename_to_directory_and_back", rename_to_directory_and_back, false },
	{ 0 }
};
