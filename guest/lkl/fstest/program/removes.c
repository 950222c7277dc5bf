/* SPDX-License-Identifier: MPL-2.0 */
/* unlink, rmdir and mkdir. */
#define _GNU_SOURCE
#include "fstest.h"

#include <sys/mman.h>

static void unlink_kinds(void)
{
	for (int kind = 0; kind < KINDS; kind++) {
		fs_label(kind_names[kind]);
		make_kind(kind, "f");
		TRY(unlink("f"));
		TRY(unlink("f"));
		TRY(rmdir("f"));
		make_kind(kind, "f");
		TRY(remove("f"));
		OCTAL(mode_of("f"));
	}
}

static void unlink_open_file(void)
{
	char text[8] = "";
	struct stat st;
	int fd = OPEN(open("f", O_CREAT | O_RDWR, 0644));

	TRY(write(fd, "one", 3));
	TRY(unlink("f"));
	SHOW(count_entries("."));
	TRY(fstat(fd, &st));
	SHOW(st.st_nlink);
	SHOW(st.st_size);
	TRY(pwrite(fd, "two", 3, 3));
	TRY(pread(fd, text, 8, 0));
	TEXT(text);
	TRY(ftruncate(fd, 100));
	TRY(fstat(fd, &st));
	SHOW(st.st_size);
	TRY(fsync(fd));
	put_file("f", "new");
	TRY(pread(fd, text, 3, 0));
	TEXT(text);
	TEXT(get_file("f"));
	TRY(close(fd));
}

static void unlink_one_of_two_links(void)
{
	struct stat st;
	int fd;

	put_file("f", "text");
	link("f", "g");
	fd = OPEN(open("f", O_RDWR));
	TRY(unlink("f"));
	TRY(fstat(fd, &st));
	SHOW(st.st_nlink);
	TRY(pwrite(fd, "more", 4, 4));
	TEXT(get_file("g"));
	TRY(unlink("g"));
	TRY(fstat(fd, &st));
	SHOW(st.st_nlink);
}

static void unlink_mapped_file(void)
{
	int fd = OPEN(open("f", O_CREAT | O_RDWR, 0644));
	char *p;

	TRY(write(fd, "content", 7));
	p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	SHOW(p != MAP_FAILED);
	TRY(close(fd));
	TRY(unlink("f"));
	TEXT(p);
	TRY(munmap(p, 4096));
}

static void unlink_errors(void)
{
	put_file("f", "");
	mkdir("d", 0777);
	symlink("loop", "loop");
	TRY(unlink("none"));
	TRY(unlink("f/x"));
	TRY(unlink("d"));
	TRY(unlink(""));
	TRY(unlink("."));
	TRY(unlink("f/"));
	TRY(unlink("loop/x"));
	TRY(unlink("none/x"));
	TRY(unlink("loop"));
	TRY(unlinkat(AT_FDCWD, "f", AT_REMOVEDIR));
	TRY(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
	TRY(unlinkat(AT_FDCWD, "f", 1));
	TRY(unlinkat(-1, "f", 0));
}

static void unlink_and_create_again(void)
{
	int failures = 0;
	char text[16];

	for (int i = 0; i < 300; i++) {
		snprintf(text, sizeof(text), "%d", i);
		put_file("f", text);
		failures += strcmp(get_file("f"), text) != 0;
		failures += unlink("f") != 0;
	}
	SHOW(failures);
}

static void mkdir_modes_and_links(void)
{
	struct stat st;

	TRY(mkdir("d", 0750));
	st = attributes("d");
	OCTAL(st.st_mode);
	SHOW(st.st_nlink);
	TRY(mkdir("d/e", 0700));
	TRY(mkdir("d/f", 07777));
	OCTAL(mode_of("d/f"));
	SHOW(attributes("d").st_nlink);
	TRY(rmdir("d/e"));
	SHOW(attributes("d").st_nlink);
	SHOW(attributes("d/.").st_ino == st.st_ino);
	SHOW(attributes("d/f/..").st_ino == st.st_ino);
}

static void mkdir_errors(void)
{
	put_file("f", "");
	symlink("loop", "loop");
	symlink("none", "s");
	TRY(mkdir("d", 0777));
	TRY(mkdir("d", 0777));
	TRY(mkdir("f", 0777));
	TRY(mkdir("f/x", 0777));
	TRY(mkdir("none/x", 0777));
	TRY(mkdir("loop", 0777));
	TRY(mkdir("loop/x", 0777));
	TRY(mkdir("s", 0777));
	TRY(mkdir("s/", 0777));
	TRY(mkdir("", 0777));
	TRY(mkdir(".", 0777));
	TRY(mkdir("d/.", 0777));
	TRY(mkdir("new/", 0777));
	TRY(mkdir("/", 0777));
}

static void mkdir_deep(void)
{
	char path[4096] = "";
	int depth = 0;

	for (; depth < 200; depth++) {
		strcat(path, "directory/");
		if (TRY(mkdir(path, 0777)) == -1)
			break;
	}
	strcat(path, "f");
	put_file(path, "deep");
	TEXT(get_file(path));
}

static void rmdir_full(void)
{
	for (int kind = 0; kind < KINDS; kind++) {
		mkdir("d", 0777);
		make_kind(kind, "d/f");
		TRY(rmdir("d"));
		remove("d/f");
		TRY(rmdir("d"));
	}
}

static void rmdir_errors(void)
{
	put_file("f", "");
	mkdir("d", 0777);
	mkdir("d/e", 0777);
	symlink("loop", "loop");
	TRY(rmdir("none"));
	TRY(rmdir("f"));
	TRY(rmdir("f/x"));
	TRY(rmdir("loop"));
	TRY(rmdir("."));
	TRY(rmdir("d/."));
	TRY(rmdir("d/e/.."));
	TRY(rmdir(""));
	TRY(rmdir("d"));
	TRY(rmdir("d/e/"));
	TRY(rmdir("d"));
	TRY(rmdir("/proc"));
}

static void rmdir_of_open_directory(void)
{
	struct stat st;
	int fd;

	mkdir("d", 0777);
	fd = OPEN(open("d", O_RDONLY | O_DIRECTORY));
	TRY(rmdir("d"));
	TRY(fstat(fd, &st));
	SHOW(st.st_nlink);
	OPEN(openat(fd, "f", O_CREAT | O_WRONLY, 0666));
	TRY(mkdirat(fd, "e", 0777));
	TRY(faccessat(fd, "x", F_OK, 0));
	TRY(fsync(fd));
	TRY(mkdir("d", 0777));
	OPEN(openat(fd, "f", O_CREAT | O_WRONLY, 0666));
	SHOW(count_entries("d"));
}

static void rmdir_of_working_directory(void)
{
	char path[4096];

	mkdir("d", 0777);
	TRY(chdir("d"));
	TRY(rmdir("../d"));
	SHOW(getcwd(path, sizeof(path)) != NULL);
	OPEN(open("f", O_CREAT | O_WRONLY, 0666));
	TRY(mkdir("e", 0777));
	TRY(access(".", F_OK));
	SHOW(count_entries("."));
	TRY(chdir(".."));
}

static void rmdir_tree(void)
{
	char path[64];
	int failures = 0;

	for (int i = 0; i < 10; i++) {
		snprintf(path, sizeof(path), "d%d", i);
		failures += mkdir(path, 0777) != 0;
		for (int k = 0; k < 10; k++) {
			snprintf(path, sizeof(path), "d%d/f%d", i, k);
			put_file(path, path);
		}
	}
	SHOW(count_entries("."));
	for (int i = 0; i < 10; i++) {
		for (int k = 0; k < 10; k++) {
			snprintf(path, sizeof(path), "d%d/f%d", i, k);
			failures += strcmp(get_file(path), path) != 0;
			failures += unlink(path) != 0;
		}
		snprintf(path, sizeof(path), "d%d", i);
		failures += rmdir(path) != 0;
	}
	SHOW(failures);
	SHOW(count_entries("."));
	SHOW(attributes(".").st_nlink);
}

const struct fs_case remove_cases[] = {
	{ "unlink_kinds", unlink_kinds, false },
	{ "unlink_open_file", unlink_open_file, false },
	{ "unlink_one_of_two_links", unlink_one_of_two_links, false },
	{ "unlink_mapped_file", unlink_mapped_file, false },
	{ "unlink_errors", unlink_errors, false },
	{ "unlink_and_create_again", unlink_and_create_again, false },
	{ "mkdir_modes_and_links", mkdir_modes_and_links, false },
	{ "mkdir_errors", mkdir_errors, false },
	{ "mkdir_deep", mkdir_deep, false },
	{ "rmdir_full", rmdir_full, false },
	{ "rmdir_errors", rmdir_errors, false },
	{ "rmdir_of_open_directory", rmdir_of_open_directory, false },
	{ "rmdir_of_working_directory", rmdir_of_working_directory, false },
	{ "rmdir_tree", rmdir_tree, false },
	{ 0 }
};
