/* SPDX-License-Identifier: MPL-2.0 */
/* FIFOs, sockets and devices in a directory; extended attributes. */
#define _GNU_SOURCE
#include "fstest.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>

static void *write_fifo(void *path)
{
	put_file(path, "through the FIFO");
	return NULL;
}

static void fifo_transfers(void)
{
	char text[32] = "";
	pthread_t thread;
	int fd;

	TRY(mkfifo("p", 0644));
	OPEN(open("p", O_WRONLY | O_NONBLOCK));
	pthread_create(&thread, NULL, write_fifo, "p");
	fd = OPEN(open("p", O_RDONLY));
	pthread_join(thread, NULL);
	TRY(read(fd, text, sizeof(text) - 1));
	TEXT(text);
	TRY(read(fd, text, 1));
	TRY(lseek(fd, 0, SEEK_SET));
	SHOW(attributes("p").st_size);
}

static void fifo_of_one_process(void)
{
	char text[8] = "";
	int fd, in;

	TRY(mkfifo("p", 0600));
	fd = OPEN(open("p", O_RDWR));
	TRY(write(fd, "text", 4));
	TRY(rename("p", "q"));
	in = OPEN(open("q", O_RDONLY | O_NONBLOCK));
	TRY(read(in, text, 8));
	TEXT(text);
	TRY(read(in, text, 8));
	TRY(unlink("q"));
	TRY(write(fd, "more", 4));
	TRY(read(fd, text, 8));
	TEXT(text);
}

static void fifo_errors(void)
{
	put_file("f", "");
	symlink("loop", "loop");
	TRY(mkfifo("f", 0644));
	TRY(mkfifo("f/x", 0644));
	TRY(mkfifo("none/x", 0644));
	TRY(mkfifo("loop", 0644));
	TRY(mkfifo("", 0644));
	TRY(mkfifo("p/", 0644));
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	return a;
}

static int try_bind(int s, const char *path)
{
	struct sockaddr_un a = address_of(path);

	return bind(s, (struct sockaddr *)&a, sizeof(a));
}

static int try_connect(int s, const char *path)
{
	struct sockaddr_un a = address_of(path);

	return connect(s, (struct sockaddr *)&a, sizeof(a));
}

static void socket_connects(void)
{
	int s = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0), peer;
	char text[8] = "";

	TRY(try_bind(s, "s"));
	OCTAL(mode_of("s"));
	TRY(try_connect(c, "s"));
	TRY(listen(s, 1));
	TRY(try_connect(c, "s"));
	peer = OPEN(accept(s, NULL, NULL));
	TRY(write(c, "text", 4));
	TRY(read(peer, text, 8));
	TEXT(text);
	OPEN(open("s", O_RDWR));
	c = socket(AF_UNIX, SOCK_STREAM, 0);
	TRY(rename("s", "t"));
	TRY(try_connect(c, "s"));
	TRY(try_connect(c, "t"));
	c = socket(AF_UNIX, SOCK_STREAM, 0);
	TRY(try_bind(c, "t"));
	TRY(unlink("t"));
	TRY(try_bind(c, "t"));
}

static void socket_errors(void)
{
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	put_file("f", "");
	TRY(try_bind(s, "f"));
	TRY(try_bind(s, "f/x"));
	TRY(try_bind(s, "none/x"));
	TRY(try_connect(s, "f"));
	TRY(try_connect(s, "none"));
	int d = socket(AF_UNIX, SOCK_DGRAM, 0);

	TRY(try_bind(s, "s"));
	TRY(try_connect(d, "s"));
}

static void socket_of_closed_server(void)
{
	int s = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0);

	TRY(try_bind(s, "s"));
	TRY(listen(s, 1));
	TRY(close(s));
	TRY(try_connect(c, "s"));
	OCTAL(mode_of("s"));
}

static void socket_permission(void)
{
	int s = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0);

	umask(077);
	TRY(try_bind(s, "s"));
	TRY(listen(s, 2));
	OCTAL(mode_of("s"));
	become(USER, USER);
	TRY(try_connect(c, "s"));
	become_first();
	TRY(chmod("s", 0666));
	become(USER, USER);
	TRY(try_connect(c, "s"));
}

static void mknod_regular_and_fifo(void)
{
	TRY(mknod("f", S_IFREG | 0640, 0));
	OCTAL(mode_of("f"));
	SHOW(attributes("f").st_size);
	TRY(mknod("g", 0600, 0));
	OCTAL(mode_of("g"));
	TRY(mknod("p", S_IFIFO | 0600, 0));
	OCTAL(mode_of("p"));
	TRY(mknod("s", S_IFSOCK | 0600, 0));
	OCTAL(mode_of("s"));
	TRY(mknod("d", S_IFDIR | 0700, 0));
	TRY(mknod("l", S_IFLNK | 0700, 0));
	TRY(mknod("f", S_IFREG | 0640, 0));
	TRY(mknod("f/x", S_IFREG | 0640, 0));
}

static void mknod_devices_by_user(void)
{
	become(USER, USER);
	TRY(mknod("c", S_IFCHR | 0666, makedev(1, 3)));
	TRY(mknod("b", S_IFBLK | 0666, makedev(7, 0)));
	SHOW(count_entries("."));
}

static void mknod_devices_by_root(void)
{
	TRY(mknod("c", S_IFCHR | 0666, makedev(1, 3)));
	TRY(mknod("b", S_IFBLK | 0666, makedev(7, 0)));
	OCTAL(mode_of("c"));
	SHOW(major(attributes("c").st_rdev));
}

static void xattr_values(void)
{
	char value[100], list[100];

	put_file("f", "");
	TRY(getxattr("f", "user.a", value, 100));
	TRY(setxattr("f", "user.a", "one", 3, 0));
	TRY(getxattr("f", "user.a", value, 100));
	TRY(getxattr("f", "user.a", NULL, 0));
	TRY(getxattr("f", "user.a", value, 2));
	TRY(setxattr("f", "user.a", "two", 3, XATTR_CREATE));
	TRY(setxattr("f", "user.b", "two", 3, XATTR_REPLACE));
	TRY(setxattr("f", "user.a", "three", 5, XATTR_REPLACE));
	TRY(setxattr("f", "user.b", "", 0, XATTR_CREATE));
	TRY(getxattr("f", "user.b", value, 100));
	TRY(listxattr("f", list, 100));
	TRY(listxattr("f", NULL, 0));
	TRY(listxattr("f", list, 5));
	TRY(removexattr("f", "user.a"));
	TRY(removexattr("f", "user.a"));
	TRY(listxattr("f", list, 100));
	TEXT(list);
}

static void xattr_of_kinds(void)
{
	for (int kind = 0; kind < KINDS; kind++) {
		const char *path = kind_names[kind];
		char value[16];

		fs_label(path);
		make_kind(kind, path);
		TRY(lsetxattr(path, "user.a", "one", 3, 0));
		TRY(lgetxattr(path, "user.a", value, 16));
		TRY(llistxattr(path, value, 16));
		TRY(lremovexattr(path, "user.a"));
	}
}

static void xattr_survives(void)
{
	char value[16] = "";
	int fd;

	put_file("f", "");
	TRY(setxattr("f", "user.a", "one", 3, 0));
	TRY(rename("f", "g"));
	link("g", "h");
	TRY(getxattr("h", "user.a", value, 16));
	TEXT(value);
	fd = OPEN(open("h", O_RDWR));
	TRY(fsetxattr(fd, "user.b", "x", 1, 0));
	TRY(getxattr("g", "user.b", value, 16));
	TRY(ftruncate(fd, 10));
	TRY(fgetxattr(fd, "user.a", value, 16));
	TRY(fremovexattr(fd, "user.a"));
	TRY(getxattr("g", "user.a", value, 16));
}

static void xattr_large(void)
{
	static char value[70000], back[70000];

	put_file("f", "");
	memset(value, 'v', sizeof(value));
	TRY(setxattr("f", "user.a", value, 2000, 0));
	TRY(getxattr("f", "user.a", back, sizeof(back) / 2));
	SHOW(memcmp(value, back, 2000));
	TRY(setxattr("f", "user.c", value, 65537, 0));
}

static void xattr_names(void)
{
	char name[300];

	put_file("f", "");
	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[255] = 0;
	TRY(setxattr("f", name, "x", 1, 0));
	name[255] = 'n';
	name[256] = 0;
	TRY(setxattr("f", name, "x", 1, 0));
	TRY(setxattr("f", "user.", "x", 1, 0));
	TRY(setxattr("f", "", "x", 1, 0));
	TRY(setxattr("f", "nonsense", "x", 1, 0));
	TRY(setxattr("f", "unknown.a", "x", 1, 0));
	TRY(setxattr("none", "user.a", "x", 1, 0));
	TRY(setxattr("f/x", "user.a", "x", 1, 0));
}

static void xattr_by_user(void)
{
	char value[16];

	put_file("f", "");
	TRY(setxattr("f", "user.a", "one", 3, 0));
	TRY(chmod("f", 0644));
	become(USER, USER);
	TRY(getxattr("f", "user.a", value, 16));
	TRY(setxattr("f", "user.a", "two", 3, 0));
	TRY(setxattr("f", "trusted.a", "two", 3, 0));
	TRY(setxattr("f", "security.a", "two", 3, 0));
	become_first();
	TRY(chmod("f", 0600));
	become(USER, USER);
	TRY(getxattr("f", "user.a", value, 16));
}

const struct fs_case kind_cases[] = {
	{ "fifo_transfers", fifo_transfers, false },
	{ "fifo_of_one_process", fifo_of_one_process, false },
	{ "fifo_errors", fifo_errors, false },
	{ "socket_connects", socket_connects, false },
	{ "socket_errors", socket_errors, false },
	{ "socket_of_closed_server", socket_of_closed_server, false },
	{ "socket_permission", socket_permission, true },
	{ "mknod_regular_and_fifo", mknod_regular_and_fifo, false },
	{ "mknod_devices_by_user", mknod_devices_by_user, true },
	{ "mknod_devices_by_root", mknod_devices_by_root, true },
	{ 0 }
};

const struct fs_case xattr_cases[] = {
	{ "xattr_values", xattr_values, false },
	{ "xattr_of_kinds", xattr_of_kinds, false },
	{ "xattr_survives", xattr_survives, false },
	{ "xattr_large", xattr_large, false },
	{ "xattr_names", xattr_names, false },
	{ "xattr_by_user", xattr_by_user, true },
	{ 0 }
};
