/* SPDX-License-Identifier: MPL-2.0 */
/* Metadata of files: permissions, owners, times, extended attributes. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

static unsigned mode_of(const char *path)
{
	struct stat st;

	OK(lstat(path, &st));
	return st.st_mode & 07777;
}

static void permissions(void)
{
	int fd;

	put_file("file", "");
	OK(chmod("file", 04751));
	IS(mode_of("file"), 04751);
	fd = OK(open("file", O_RDWR));
	OK(fchmod(fd, 0600));
	IS(mode_of("file"), 0600);
	OK(fchmodat(AT_FDCWD, "file", 0644, 0));
	IS(mode_of("file"), 0644);
	FAILS(chmod("none", 0644), ENOENT);
	OK(mkdir("d", 0777));
	OK(chmod("d", 01777));
	IS(mode_of("d"), 01777);
}

static void owners(void)
{
	struct stat st;

	put_file("file", "");
	OK(chmod("file", 06755));
	OK(chown("file", 12, 34));
	OK(stat("file", &st));
	IS(st.st_uid, 12);
	IS(st.st_gid, 34);
	/*
	 * A change of the owner clears the set-user-ID and set-group-ID bits.
	 */
	IS(mode_of("file"), 0755);
	OK(chown("file", -1, 35));
	OK(stat("file", &st));
	IS(st.st_uid, 12);
	IS(st.st_gid, 35);
	OK(symlink("file", "link"));
	OK(lchown("link", 77, 78));
	OK(stat("file", &st));
	IS(st.st_uid, 12);
	OK(lstat("link", &st));
	IS(st.st_uid, 77);
}

/* Changes the user of one thread: raw calls do not affect other threads. */
static void *as_nobody(void *arg)
{
	long denied = 0;

	syscall(SYS_setgroups, 0, NULL);
	syscall(SYS_setresgid, 65534, 65534, 65534);
	syscall(SYS_setresuid, 65534, 65534, 65534);
	(void)arg;
	denied |= (open("secret", O_RDONLY) == -1 && errno == EACCES) << 0;
	denied |= (open("public", O_RDONLY) != -1) << 1;
	denied |= (open("public", O_WRONLY) == -1 && errno == EACCES) << 2;
	denied |= (open("new", O_WRONLY | O_CREAT, 0666) == -1 && errno == EACCES) << 3;
	denied |= (unlink("public") == -1 && errno == EACCES) << 4;
	denied |= (chmod("public", 0777) == -1 && errno == EPERM) << 5;
	denied |= (chown("public", 65534, 65534) == -1 && errno == EPERM) << 6;
	denied |= (open("closed/file", O_RDONLY) == -1 && errno == EACCES) << 7;
	denied |= (syscall(SYS_setresuid, 0, 0, 0) == -1 && errno == EPERM) << 8;
	denied |= (mkdir("d", 0777) == -1 && errno == EACCES) << 9;
	denied |= (syscall(SYS_kill, 1, SIGWINCH) == -1 && errno == EPERM) << 10;
	denied |= (open("sticky/file", O_RDONLY) != -1) << 11;
	denied |= (unlink("sticky/file") == -1 && errno == EPERM) << 12;
	denied |= (open("sticky/own", O_RDWR | O_CREAT, 0600) != -1) << 13;
	denied |= (access("secret", R_OK) == -1 && errno == EACCES) << 14;
	return (void *)denied;
}

static void other_users(void)
{
	struct stat st;

	put_file("secret", "secret");
	OK(chmod("secret", 0600));
	put_file("public", "public");
	OK(mkdir("closed", 0700));
	put_file("closed/file", "");
	OK(mkdir("sticky", 0777));
	OK(chmod("sticky", 01777));
	put_file("sticky/file", "");
	IS((long)join_thread(start_thread(as_nobody, NULL)), 0x7fff);
	OK(stat("sticky/own", &st));
	IS(st.st_uid, 65534);
	IS(getuid(), 0);
}

static void times(void)
{
	struct timespec t[2] = { { 1000000000, 123456789 }, { 1500000000, 987654321 } };
	struct utimbuf u = { 5, 6 };
	struct stat st;
	int fd;

	put_file("file", "text");
	OK(utimensat(AT_FDCWD, "file", t, 0));
	OK(stat("file", &st));
	IS(st.st_atim.tv_sec, 1000000000);
	IS(st.st_mtim.tv_sec, 1500000000);
	IS(st.st_mtim.tv_nsec, 987654321);
	TRUE(st.st_ctim.tv_sec > 1600000000);
	t[0].tv_nsec = UTIME_OMIT;
	t[1].tv_nsec = UTIME_NOW;
	fd = OK(open("file", O_RDWR));
	OK(futimens(fd, t));
	OK(fstat(fd, &st));
	IS(st.st_atim.tv_sec, 1000000000);
	TRUE(st.st_mtim.tv_sec > 1600000000);
	OK(utime("file", &u));
	OK(stat("file", &st));
	IS(st.st_mtim.tv_sec, 6);
	GIVES(write(fd, "x", 1), 1);
	OK(stat("file", &st));
	TRUE(st.st_mtim.tv_sec > 1600000000);
	t[0].tv_nsec = 1000000000;
	FAILS(utimensat(AT_FDCWD, "file", t, 0), EINVAL);
	OK(symlink("file", "link"));
	t[0] = t[1] = (struct timespec){ 77, 0 };
	OK(utimensat(AT_FDCWD, "link", t, AT_SYMLINK_NOFOLLOW));
	OK(lstat("link", &st));
	IS(st.st_mtim.tv_sec, 77);
}

/* Times that do not fit in 32 bits of seconds. */
static void far_times(void)
{
	struct timespec t[2] = { { 4294967296 + 5, 0 }, { 4294967296 + 5, 0 } };
	struct stat st;

	put_file("file", "");
	OK(utimensat(AT_FDCWD, "file", t, 0));
	OK(stat("file", &st));
	IS(st.st_mtim.tv_sec, 4294967301);
}

static void extended(void)
{
	char text[64] = "";

	put_file("file", "");
	FAILS(getxattr("file", "user.name", text, sizeof(text)), ENODATA);
	OK(setxattr("file", "user.name", "value", 5, 0));
	FAILS(setxattr("file", "user.name", "value", 5, XATTR_CREATE), EEXIST);
	FAILS(setxattr("file", "user.other", "value", 5, XATTR_REPLACE), ENODATA);
	GIVES(getxattr("file", "user.name", text, sizeof(text)), 5);
	TEXT(text, "value");
	FAILS(getxattr("file", "user.name", text, 2), ERANGE);
	OK(setxattr("file", "trusted.x", "", 0, 0));
	GIVES(getxattr("file", "trusted.x", text, sizeof(text)), 0);
	OK(removexattr("file", "user.name"));
	FAILS(removexattr("file", "user.name"), ENODATA);
	FAILS(setxattr("file", "unknown.x", "", 0, 0), EOPNOTSUPP);
}

static void extended_list(void)
{
	char text[256] = "";
	ssize_t n;

	put_file("file", "");
	OK(setxattr("file", "user.one", "1", 1, 0));
	OK(setxattr("file", "user.two", "2", 1, 0));
	n = OK(listxattr("file", text, sizeof(text)));
	TRUE(memmem(text, n, "user.one", 9) && memmem(text, n, "user.two", 9));
	GIVES(listxattr("file", NULL, 0), n);
	FAILS(listxattr("file", text, 1), ERANGE);
}

static void kinds(void)
{
	struct stat st;
	/*
	 * A struct statx, which older C libraries lack. The mask comes first;
	 * the size is at offset 40.
	 */
	union {
		uint32_t mask;
		uint64_t words[32];
	} x = { 0 };

	OK(mknod("fifo", S_IFIFO | 0644, 0));
	OK(stat("fifo", &st));
	TRUE(S_ISFIFO(st.st_mode));
	OK(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	OK(stat("null", &st));
	TRUE(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
	put_file("file", "text");
	OK(syscall(SYS_statx, AT_FDCWD, "file", 0, 0x7ff, &x));
	IS(x.words[5], 4);
	IS(x.mask & 0x7ff, 0x7ff);
	FAILS(syscall(SYS_statx, AT_FDCWD, "none", 0, 0x7ff, &x), ENOENT);
	OK(stat("/dev/null", &st));
	TRUE(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
	IS(st.st_mode & 0777, 0666);
}

static void of_file_system(void)
{
	struct statvfs v;

	OK(statvfs(".", &v));
	IS(v.f_namemax, 255);
	TRUE(v.f_bsize >= 1024 && v.f_blocks > 0 && v.f_bfree <= v.f_blocks &&
	     v.f_bavail <= v.f_bfree);
	TRUE(v.f_files > 0 && v.f_ffree < v.f_files);
	IS(pathconf(".", _PC_NAME_MAX), 255);
	FAILS(statvfs("none", &v), ENOENT);
}

const struct check attribute_checks[] = {
	{ "attribute_permissions", permissions },
	{ "attribute_owners", owners },
	{ "attribute_other_users", other_users },
	{ "attribute_times", times },
	{ "attribute_far_times", far_times },
	{ "attribute_extended", extended },
	{ "attribute_extended_list", extended_list },
	{ "attribute_kinds", kinds },
	{ "attribute_of_file_system", of_file_system },
	{ 0 }
};
