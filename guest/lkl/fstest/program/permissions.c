/* SPDX-License-Identifier: MPL-2.0 */
/* Access by other users: bits of files and directories, sticky directories. */
#define _GNU_SOURCE
#include "fstest.h"

#include <sys/syscall.h>

static void access_of_all_modes(void)
{
	put_file("f", "text");
	for (int who = 0; who < 3; who++) {
		/* The file belongs to the user, to the group, or to neither. */
		TRY(chown("f", who == 0 ? USER : 0, who == 1 ? USER : 0));
		for (mode_t bits = 0; bits < 8; bits++) {
			TRY(chmod("f", bits << 3 * (2 - who)));
			become(USER, USER);
			OPEN(open("f", O_RDONLY));
			OPEN(open("f", O_WRONLY));
			OPEN(open("f", O_RDWR));
			OPEN(open("f", O_RDONLY | O_TRUNC));
			TRY(truncate("f", 2));
			TRY(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
			TRY(faccessat(AT_FDCWD, "f", W_OK, AT_EACCESS));
			TRY(faccessat(AT_FDCWD, "f", X_OK, AT_EACCESS));
			become_first();
			for (int fd = 3; fd < 16; fd++)
				close(fd);
		}
	}
}

static void access_of_directory_modes(void)
{
	struct stat st;

	mkdir("d", 0777);
	put_file("d/f", "text");
	for (mode_t bits = 0; bits < 8; bits++) {
		TRY(chmod("d", bits));
		become(USER, USER);
		OPEN(open("d", O_RDONLY | O_DIRECTORY));
		SHOW(count_entries("d"));
		TRY(stat("d/f", &st));
		TRY(stat("d/none", &st));
		OPEN(open("d/f", O_RDONLY));
		OPEN(open("d/new", O_CREAT | O_WRONLY, 0666));
		TRY(mkdir("d/e", 0777));
		TRY(symlink("x", "d/s"));
		TRY(link("d/f", "d/l"));
		TRY(rename("d/new", "d/newer"));
		TRY(unlink("d/newer"));
		TRY(rmdir("d/e"));
		TRY(chdir("d"));
		become_first();
		chmod("../d", 0777);
		chdir("../access_of_directory_modes");
		unlink("d/s");
		unlink("d/l");
		for (int fd = 3; fd < 16; fd++)
			close(fd);
	}
}

/* The mode matters when a file is opened, not later. */
static void access_after_open(void)
{
	int in, out;
	char text[8] = "";

	put_file("f", "text");
	TRY(chmod("f", 0666));
	become(USER, USER);
	in = OPEN(open("f", O_RDONLY));
	out = OPEN(open("f", O_WRONLY));
	become_first();
	TRY(chmod("f", 0));
	become(USER, USER);
	TRY(pread(in, text, 4, 0));
	TRY(pwrite(out, "new", 3, 0));
	TRY(ftruncate(out, 3));
	OPEN(open("f", O_RDONLY));
	become_first();
	TEXT(get_file("f"));
}

static void access_by_root(void)
{
	put_file("f", "text");
	mkdir("d", 0777);
	put_file("d/f", "text");
	TRY(chown("f", USER, USER));
	TRY(chown("d", USER, USER));
	TRY(chmod("f", 0));
	TRY(chmod("d", 0));
	TEXT(get_file("f"));
	TEXT(get_file("d/f"));
	TRY(access("f", R_OK | W_OK));
	TRY(access("f", X_OK));
	TRY(access("d", R_OK | W_OK | X_OK));
	TRY(unlink("d/f"));
}

static void access_without_any_permission(void)
{
	put_file("f", "text");
	TRY(chmod("f", 0));
	TEXT(get_file("f"));
	TRY(access("f", R_OK));
	TRY(access("f", F_OK));
	mkdir("d", 0777);
	put_file("d/f", "text");
	TRY(chmod("d", 0));
	TEXT(get_file("d/f"));
	SHOW(count_entries("d"));
	TRY(unlink("d/f"));
	TRY(rmdir("d"));
	TRY(chmod("d", 0700));
	SHOW(count_entries("d"));
}

static void access_of_read_only_directory(void)
{
	mkdir("d", 0777);
	put_file("d/f", "text");
	TRY(chmod("d", 0555));
	OPEN(open("d/new", O_CREAT | O_WRONLY, 0666));
	OPEN(open("d/f", O_CREAT | O_WRONLY, 0666));
	TRY(unlink("d/f"));
	TRY(rename("d/f", "f"));
	TRY(mkdir("d/e", 0777));
	TRY(chmod("d", 0777));
	SHOW(count_entries("d"));
}

static void access_errors(void)
{
	put_file("f", "");
	symlink("loop", "loop");
	TRY(access("f", F_OK));
	TRY(access("none", F_OK));
	TRY(access("f/x", F_OK));
	TRY(access("loop", F_OK));
	TRY(access("", F_OK));
	TRY(access("f", 64));
}

/* In a sticky directory only the owners of file or directory, and root, may remove. */
static void sticky_unlink(void)
{
	mkdir("d", 0777);
	TRY(chmod("d", 01777));
	for (int owner = 0; owner < 2; owner++) {
		put_file("d/f", "");
		TRY(chown("d/f", owner ? USER : OTHER, 0));
		become(USER, USER);
		TRY(unlink("d/f"));
		become_first();
	}
	TRY(chown("d", USER, 0));
	put_file("d/f", "");
	TRY(chown("d/f", OTHER, 0));
	become(USER, USER);
	TRY(unlink("d/f"));
	become_first();
	SHOW(count_entries("d"));
}

static void sticky_rename(void)
{
	mkdir("d", 0777);
	TRY(chmod("d", 01777));
	put_file("d/theirs", "");
	put_file("d/mine", "");
	TRY(chown("d/theirs", OTHER, 0));
	TRY(chown("d/mine", USER, 0));
	become(USER, USER);
	TRY(rename("d/theirs", "d/x"));
	TRY(rename("d/mine", "d/theirs"));
	TRY(rename("d/mine", "d/y"));
	TRY(rename("d/y", "outside"));
	TRY(rename("d/theirs", "outside"));
	become_first();
	SHOW(count_entries("d"));
}

static void sticky_rmdir(void)
{
	mkdir("d", 0777);
	TRY(chmod("d", 01777));
	mkdir("d/theirs", 0777);
	mkdir("d/mine", 0777);
	TRY(chown("d/theirs", OTHER, 0));
	TRY(chown("d/mine", USER, 0));
	become(USER, USER);
	TRY(rmdir("d/theirs"));
	TRY(rename("d/theirs", "d/x"));
	TRY(rmdir("d/mine"));
	become_first();
	SHOW(count_entries("d"));
}

/* Moving a directory to another one changes its entry "..". */
static void rename_of_foreign_directory(void)
{
	mkdir("d", 0755);
	TRY(chmod(".", 0777));
	become(USER, USER);
	TRY(mkdir("to", 0777));
	TRY(rename("d", "e"));
	TRY(rename("e", "to/d"));
	TRY(rename("e", "d"));
	become_first();
	SHOW(count_entries("to"));
}

static void link_to_foreign_file(void)
{
	put_file("f", "");
	become(USER, USER);
	TRY(symlink("f", "s"));
	TEXT(get_file("s"));
	TRY(link("f", "new"));
	become_first();
	SHOW(attributes("f").st_nlink);
	TRY(chmod("f", 0666));
	become(USER, USER);
	TRY(link("f", "newer"));
}

static void execute_permission(void)
{
	put_file("f", "#!/bin/sh\n");
	TRY(chmod("f", 0644));
	TRY(access("f", X_OK));
	TRY(chmod("f", 0744));
	TRY(access("f", X_OK));
	TRY(chmod("f", 0645));
	TRY(access("f", X_OK));
}

const struct fs_case permission_cases[] = {
	{ "access_of_all_modes", access_of_all_modes, true },
	{ "access_of_directory_modes", access_of_directory_modes, true },
	{ "access_after_open", access_after_open, true },
	{ "access_by_root", access_by_root, true },
	{ "access_without_any_permission", access_without_any_permission, false },
	{ "access_of_read_only_directory", access_of_read_only_directory, false },
	{ "access_errors", access_errors, false },
	{ "access_execute_permission", execute_permission, false },
	{ "sticky_unlink", sticky_unlink, true },
	{ "sticky_rename", sticky_rename, true },
	{ "sticky_rmdir", sticky_rmdir, true },
	{ "rename_of_foreign_directory", rename_of_foreign_directory, true },
	{ "link_to_foreign_file", link_to_foreign_file, true },
	{ 0 }
};
