/* SPDX-License-Identifier: MPL-2.0 */
/* Modes and owners: chmod, chown, umask, set-ID and sticky bits. */
#define _GNU_SOURCE
#include "fstest.h"

static void chmod_kind(int kind)
{
	make_kind(kind, "f");
	for (unsigned int mode = 0; mode <= 07777; mode = mode * 8 + 7 - mode % 3) {
		TRY(chmod("f", mode));
		OCTAL(mode_of("f"));
	}
	TRY(chmod("f", 0));
	OCTAL(mode_of("f"));
	TRY(chmod("f", 0700));
}

static void chmod_regular(void) { chmod_kind(0); }
static void chmod_directory(void) { chmod_kind(1); }
static void chmod_fifo(void) { chmod_kind(2); }
static void chmod_socket(void) { chmod_kind(3); }
static void chmod_dangling_link(void) { chmod_kind(4); }

static void chmod_through_link(void)
{
	put_file("f", "");
	symlink("f", "l");
	TRY(chmod("l", 0640));
	OCTAL(mode_of("f"));
	OCTAL(mode_of("l"));
	TRY(fchmodat(AT_FDCWD, "l", 0600, 0));
	OCTAL(mode_of("f"));
}

static void chmod_of_descriptor(void)
{
	int fd;

	put_file("f", "");
	fd = OPEN(open("f", O_RDONLY));
	TRY(fchmod(fd, 0));
	OCTAL(mode_of("f"));
	TRY(fchmod(fd, 0604));
	OCTAL(mode_of("f"));
	TRY(unlink("f"));
	TRY(fchmod(fd, 0755));
	struct stat st;

	TRY(fstat(fd, &st));
	OCTAL(st.st_mode);
	close(fd);
	TRY(fchmod(fd, 0755));
}

static void chmod_errors(void)
{
	put_file("f", "");
	symlink("loop", "loop");
	TRY(chmod("none", 0644));
	TRY(chmod("f/x", 0644));
	TRY(chmod("", 0644));
	TRY(chmod("loop", 0644));
	TRY(chmod("none/x", 0644));
}

static void chmod_by_another_user(void)
{
	put_file("f", "");
	mkdir("d", 0755);
	become(OTHER, OTHER);
	TRY(chmod("f", 0666));
	TRY(chmod("d", 0777));
	become_first();
	OCTAL(mode_of("f"));
	TRY(chown("f", OTHER, 0));
	become(OTHER, OTHER);
	TRY(chmod("f", 0640));
	become_first();
	OCTAL(mode_of("f"));
}

/* A user cannot set the set-group-ID bit of a group to which the user does not belong. */
static void chmod_setgid_of_foreign_group(void)
{
	put_file("f", "");
	TRY(chown("f", USER, OTHER));
	become(USER, USER);
	TRY(chmod("f", 02755));
	become_first();
	OCTAL(mode_of("f"));
	TRY(chown("f", USER, USER));
	become(USER, USER);
	TRY(chmod("f", 06755));
	become_first();
	OCTAL(mode_of("f"));
}

static void chmod_sticky_by_user(void)
{
	put_file("f", "");
	mkdir("d", 0755);
	TRY(chown("f", USER, USER));
	TRY(chown("d", USER, USER));
	become(USER, USER);
	TRY(chmod("f", 01755));
	TRY(chmod("d", 01755));
	become_first();
	OCTAL(mode_of("f"));
	OCTAL(mode_of("d"));
}

static void write_clears_set_id(void)
{
	int fd;

	put_file("f", "text");
	TRY(chown("f", OTHER, OTHER));
	TRY(chmod("f", 06777));
	become(USER, USER);
	fd = OPEN(open("f", O_WRONLY));
	OCTAL(mode_of("f"));
	TRY(write(fd, "x", 1));
	OCTAL(mode_of("f"));
	become_first();
	TRY(chmod("f", 06777));
	become(USER, USER);
	TRY(ftruncate(fd, 1));
	become_first();
	OCTAL(mode_of("f"));
	TRY(chmod("f", 06777));
	TRY(pwrite(fd, "root", 4, 0));
	OCTAL(mode_of("f"));
}

static void truncating_open_clears_set_id(void)
{
	put_file("f", "text");
	TRY(chown("f", OTHER, OTHER));
	TRY(chmod("f", 04777));
	become(USER, USER);
	OPEN(open("f", O_WRONLY | O_TRUNC));
	become_first();
	OCTAL(mode_of("f"));
	SHOW(attributes("f").st_size);
}

static void show_owner(const char *path)
{
	struct stat st = attributes(path);

	printf("  %s: %d:%d 0%o\n", path, (int)st.st_uid, (int)st.st_gid, (unsigned int)st.st_mode);
}

static void chown_kinds(void)
{
	for (int kind = 0; kind < KINDS; kind++) {
		const char *path = kind_names[kind];

		make_kind(kind, path);
		TRY(lchown(path, 12, 34));
		show_owner(path);
		TRY(lchown(path, -1, 56));
		show_owner(path);
		TRY(lchown(path, 78, -1));
		show_owner(path);
		TRY(lchown(path, 4000000000u, 0));
		show_owner(path);
	}
}

static void chown_through_link(void)
{
	put_file("f", "");
	symlink("f", "l");
	TRY(chown("l", 7, 8));
	show_owner("f");
	show_owner("l");
	TRY(lchown("l", 9, 10));
	show_owner("f");
	show_owner("l");
	TRY(fchownat(AT_FDCWD, "l", 11, 12, AT_SYMLINK_NOFOLLOW));
	show_owner("l");
}

static void chown_clears_set_id(void)
{
	put_file("f", "");
	mkdir("d", 0755);
	TRY(chmod("f", 06755));
	TRY(chown("f", 7, 8));
	show_owner("f");
	TRY(chmod("f", 02644));
	TRY(chown("f", 9, -1));
	show_owner("f");
	TRY(chmod("d", 06755));
	TRY(chown("d", 7, 8));
	show_owner("d");
	TRY(chmod("f", 06755));
	TRY(chown("f", USER, USER));
	TRY(chmod("f", 06755));
	become(USER, USER);
	TRY(chown("f", -1, USER));
	become_first();
	show_owner("f");
	TRY(chmod("f", 06755));
	TRY(chown("f", -1, -1));
	show_owner("f");
}

static void chown_by_user(void)
{
	put_file("f", "");
	TRY(chown("f", USER, USER));
	become(USER, USER);
	TRY(chown("f", OTHER, -1));
	TRY(chown("f", -1, OTHER));
	TRY(chown("f", USER, USER));
	TRY(chown("f", -1, USER));
	TRY(chown("f", 0, 0));
	become_first();
	show_owner("f");
	become(OTHER, OTHER);
	TRY(chown("f", OTHER, OTHER));
	TRY(chown("f", -1, -1));
	become_first();
	show_owner("f");
}

static void chown_of_descriptor(void)
{
	int fd;

	put_file("f", "");
	fd = OPEN(open("f", O_RDONLY));
	TRY(fchown(fd, 5, 6));
	show_owner("f");
	TRY(unlink("f"));
	TRY(fchown(fd, 7, 8));
	struct stat st;

	TRY(fstat(fd, &st));
	SHOW(st.st_uid);
	SHOW(st.st_nlink);
}

static void chown_errors(void)
{
	put_file("f", "");
	symlink("loop", "loop");
	TRY(chown("none", 0, 0));
	TRY(chown("f/x", 0, 0));
	TRY(chown("", 0, 0));
	TRY(chown("loop", 0, 0));
}

/* New files belong to their creator, or to the group of a set-group-ID directory. */
static void owner_of_new_files(void)
{
	mkdir("d", 0777);
	TRY(chown("d", 0, OTHER));
	TRY(chmod("d", 02777));
	become(USER, USER);
	for (int kind = 0; kind < KINDS; kind++) {
		char path[32];

		make_kind(kind, kind_names[kind]);
		show_owner(kind_names[kind]);
		snprintf(path, sizeof(path), "d/%s", kind_names[kind]);
		make_kind(kind, path);
		show_owner(path);
	}
	TRY(mkdir("d/directory/e", 0777));
	show_owner("d/directory/e");
}

/* A set-group-ID file that a user creates in a directory of a foreign group. */
static void setgid_of_new_files(void)
{
	mkdir("d", 0777);
	TRY(chown("d", 0, OTHER));
	TRY(chmod("d", 02777));
	umask(0);
	become(USER, USER);
	OPEN(open("d/f", O_CREAT | O_WRONLY, 02775));
	show_owner("d/f");
	OPEN(open("d/g", O_CREAT | O_WRONLY, 02765));
	show_owner("d/g");
	OPEN(open("f", O_CREAT | O_WRONLY, 06775));
	show_owner("f");
}

static void umask_of_new_files(void)
{
	static const mode_t masks[] = { 0, 022, 027, 077, 0777 };

	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		umask(masks[i]);
		OPEN(open("f", O_CREAT | O_WRONLY, 0777));
		OCTAL(mode_of("f"));
		TRY(mkdir("d", 01777));
		OCTAL(mode_of("d"));
		TRY(mkfifo("p", 0666));
		OCTAL(mode_of("p"));
		unlink("f");
		unlink("p");
		rmdir("d");
	}
}

static void mode_of_created_file_without_permission(void)
{
	int fd = OPEN(open("f", O_CREAT | O_RDWR | O_EXCL, 0));

	OCTAL(mode_of("f"));
	TRY(write(fd, "text", 4));
	char text[8] = "";

	TRY(pread(fd, text, 8, 0));
	TEXT(text);
	fd = OPEN(open("g", O_CREAT | O_WRONLY | O_EXCL, 0400));
	TRY(write(fd, "text", 4));
	OCTAL(mode_of("g"));
	TEXT(get_file("g"));
}

const struct fs_case mode_cases[] = {
	{ "chmod_regular", chmod_regular, false },
	{ "chmod_directory", chmod_directory, false },
	{ "chmod_fifo", chmod_fifo, false },
	{ "chmod_socket", chmod_socket, false },
	{ "chmod_dangling_link", chmod_dangling_link, false },
	{ "chmod_through_link", chmod_through_link, false },
	{ "chmod_of_descriptor", chmod_of_descriptor, false },
	{ "chmod_errors", chmod_errors, false },
	{ "chmod_by_another_user", chmod_by_another_user, true },
	{ "chmod_setgid_of_foreign_group", chmod_setgid_of_foreign_group, true },
	{ "chmod_sticky_by_user", chmod_sticky_by_user, true },
	{ "chmod_cleared_by_write", write_clears_set_id, true },
	{ "chmod_cleared_by_truncating_open", truncating_open_clears_set_id, true },
	{ "chown_kinds", chown_kinds, true },
	{ "chown_through_link", chown_through_link, true },
	{ "chown_clears_set_id", chown_clears_set_id, true },
	{ "chown_by_user", chown_by_user, true },
	{ "chown_of_descriptor", chown_of_descriptor, true },
	{ "chown_errors", chown_errors, false },
	{ "owner_of_new_files", owner_of_new_files, true },
	{ "owner_setgid_of_new_files", setgid_of_new_files, true },
	{ "umask_of_new_files", umask_of_new_files, false },
	{ "umask_no_permission", mode_of_created_file_without_permission, false },
	{ 0 }
};
