/* SPDX-License-Identifier: MPL-2.0 */
/* Hard and symbolic links. */
#define _GNU_SOURCE
#include "fstest.h"

#include <limits.h>
#include <sys/syscall.h>

static void link_kinds(void)
{
	for (int kind = 0; kind < KINDS; kind++) {
		fs_label(kind_names[kind]);
		make_kind(kind, "f");
		TRY(link("f", "g"));
		SHOW(attributes("f").st_nlink);
		SHOW(attributes("g").st_nlink);
		SHOW(attributes("f").st_ino == attributes("g").st_ino);
		OCTAL(attributes("g").st_mode);
		TRY(unlink("f"));
		SHOW(attributes("g").st_nlink);
		remove("f");
		remove("g");
	}
}

static void link_shares_content(void)
{
	put_file("f", "one");
	TRY(link("f", "g"));
	put_file("g", "three");
	TEXT(get_file("f"));
	TRY(chmod("g", 0600));
	OCTAL(mode_of("f"));
	TRY(truncate("f", 2));
	TEXT(get_file("g"));
}

static void link_counts(void)
{
	char name[32];

	put_file("f", "");
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		if (link("f", name) == -1)
			TRY(-1);
	}
	SHOW(attributes("f").st_nlink);
	SHOW(attributes("l99").st_nlink);
	for (int i = 0; i < 99; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		unlink(name);
	}
	SHOW(attributes("f").st_nlink);
}

static void link_errors(void)
{
	put_file("f", "");
	put_file("g", "");
	mkdir("d", 0777);
	symlink("loop", "loop");
	TRY(link("f", "g"));
	TRY(link("f", "f"));
	TRY(link("f", "d"));
	TRY(link("none", "x"));
	TRY(link("f", "none/x"));
	TRY(link("f", "g/x"));
	TRY(link("f/x", "x"));
	TRY(link("d", "x"));
	TRY(link("f", "loop/x"));
	TRY(link("f", ""));
	TRY(link("", "x"));
	TRY(link("f", "/proc/x"));
}

static void link_of_symlink(void)
{
	put_file("f", "text");
	symlink("f", "s");
	TRY(link("s", "a"));
	OCTAL(mode_of("a") & S_IFMT);
	TRY(linkat(AT_FDCWD, "s", AT_FDCWD, "b", AT_SYMLINK_FOLLOW));
	OCTAL(mode_of("b") & S_IFMT);
	SHOW(attributes("f").st_nlink);
	SHOW(attributes("s").st_nlink);
	symlink("none", "t");
	TRY(linkat(AT_FDCWD, "t", AT_FDCWD, "c", AT_SYMLINK_FOLLOW));
	TRY(linkat(AT_FDCWD, "t", AT_FDCWD, "c", 0));
}

static void link_of_unnamed_file(void)
{
	char path[64];
	int fd = OPEN(open(".", O_TMPFILE | O_RDWR, 0644));

	TRY(write(fd, "text", 4));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	TRY(linkat(AT_FDCWD, path, AT_FDCWD, "f", AT_SYMLINK_FOLLOW));
	TEXT(get_file("f"));
	SHOW(attributes("f").st_nlink);
	fd = OPEN(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0644));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	TRY(linkat(AT_FDCWD, path, AT_FDCWD, "g", AT_SYMLINK_FOLLOW));
	SHOW(count_entries("."));
}

static void link_of_removed_file(void)
{
	char path[64];
	int fd;

	put_file("f", "text");
	fd = OPEN(open("f", O_RDWR));
	TRY(unlink("f"));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	TRY(linkat(AT_FDCWD, path, AT_FDCWD, "g", AT_SYMLINK_FOLLOW));
	TRY(access("g", F_OK));
}

static void symlink_targets(void)
{
	static const char *const targets[] = {
		"f", "../x", "/", "/absolute/path", ".", "..", "with space", "a//b/", "\xff\xfe",
	};
	char text[PATH_MAX] = "";

	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		TRY(symlink(targets[i], "s"));
		memset(text, 0, sizeof(text));
		TRY(readlink("s", text, sizeof(text) - 1));
		SHOW(strcmp(text, targets[i]));
		SHOW(attributes("s").st_size);
		OCTAL(mode_of("s"));
		unlink("s");
	}
	TRY(symlink("", "s"));
}

static void symlink_long_targets(void)
{
	static const int sizes[] = { 1, 59, 60, 255, 1000, 4094, 4095 };
	static char target[5000], text[5000];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(target, 'x', sizeof(target));
		target[sizes[i]] = 0;
		SHOW(sizes[i]);
		TRY(symlink(target, "s"));
		TRY(readlink("s", text, sizeof(text)));
		TRY(readlink("s", text, 10));
		unlink("s");
	}
	target[4096] = 0;
	memset(target, 'x', 4096);
	TRY(symlink(target, "s"));
}

static void symlink_errors(void)
{
	char text[8];

	put_file("f", "");
	mkdir("d", 0777);
	symlink("loop", "loop");
	TRY(symlink("x", "f"));
	TRY(symlink("x", "d"));
	TRY(symlink("x", "loop"));
	TRY(symlink("x", "none/s"));
	TRY(symlink("x", "f/s"));
	TRY(symlink("x", "loop/s"));
	TRY(symlink("x", ""));
	TRY(symlink("x", "d/"));
	TRY(symlink("x", "new/"));
	TRY(readlink("f", text, 8));
	TRY(readlink("d", text, 8));
	TRY(readlink("none", text, 8));
}

static void symlink_chains(void)
{
	char from[16], to[16];

	put_file("l0", "text");
	for (int i = 1; i <= 45; i++) {
		snprintf(to, sizeof(to), "l%d", i - 1);
		snprintf(from, sizeof(from), "l%d", i);
		symlink(to, from);
	}
	TEXT(get_file("l10"));
	TEXT(get_file("l40"));
	TEXT(get_file("l41"));
	symlink("b", "a");
	symlink("a", "b");
	TEXT(get_file("a"));
	TRY(mkdir("a/x", 0777));
	OPEN(open("a", O_CREAT | O_WRONLY, 0666));
}

static void symlink_to_directory(void)
{
	mkdir("d", 0777);
	symlink("d", "s");
	put_file("s/f", "text");
	TEXT(get_file("d/f"));
	TRY(rmdir("s"));
	TRY(rmdir("s/"));
	TRY(unlink("s/"));
	OCTAL(attributes("s/").st_mode & S_IFMT);
	OCTAL(attributes("s").st_mode & S_IFMT);
	TRY(rename("s", "t"));
	TEXT(get_file("t/f"));
	TRY(unlink("t"));
	SHOW(count_entries("d"));
}

static void symlink_creates_target(void)
{
	symlink("f", "s");
	OPEN(open("s", O_CREAT | O_EXCL | O_WRONLY, 0666));
	OPEN(open("s", O_CREAT | O_WRONLY, 0666));
	SHOW(attributes("f").st_nlink);
	OPEN(open("s", O_WRONLY | O_NOFOLLOW));
	TRY(unlink("f"));
	OPEN(open("s", O_RDONLY));
	TRY(mkdir("s", 0777));
}

const struct fs_case link_cases[] = {
	{ "link_kinds", link_kinds, false },
	{ "link_shares_content", link_shares_content, false },
	{ "link_counts", link_counts, false },
	{ "link_errors", link_errors, false },
	{ "link_of_symlink", link_of_symlink, false },
	{ "link_of_unnamed_file", link_of_unnamed_file, false },
	{ "link_of_removed_file", link_of_removed_file, false },
	{ "symlink_targets", symlink_targets, false },
	{ "symlink_long_targets", symlink_long_targets, false },
	{ "symlink_errors", symlink_errors, false },
	{ "symlink_chains", symlink_chains, false },
	{ "symlink_to_directory", symlink_to_directory, false },
	{ "symlink_creates_target", symlink_creates_target, false },
	{ 0 }
};
