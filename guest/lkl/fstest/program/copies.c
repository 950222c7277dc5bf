/* SPDX-License-Identifier: MPL-2.0 */
/* Copies inside the kernel, and memory maps. */
#define _GNU_SOURCE
#include "fstest.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#define SIZE 200000
#define PAGE 4096

static char buffer[SIZE];

static int patterned_file(const char *path)
{
	int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0644);

	for (int i = 0; i < SIZE; i++)
		buffer[i] = (char)(i * 31 + i / 253);
	if (write(fd, buffer, SIZE) != SIZE)
		fs_label("short write");
	return fd;
}

static bool same_pattern(int fd, off_t at, size_t size, off_t shift)
{
	static char text[SIZE];

	if (pread(fd, text, size, at) != (ssize_t)size)
		return false;
	for (size_t i = 0; i < size; i++) {
		size_t k = i + (size_t)shift;

		if (text[i] != (char)(k * 31 + k / 253))
			return false;
	}
	return true;
}

static void copy_range(void)
{
	int in = patterned_file("f"), out = OPEN(open("g", O_CREAT | O_RDWR, 0644));
	loff_t from = 1000, to = 10;

	TRY(copy_file_range(in, &from, out, &to, 100000, 0));
	SHOW(from);
	SHOW(to);
	SHOW(attributes("g").st_size);
	SHOW(same_pattern(out, 10, 100000, 1000));
	from = SIZE;
	TRY(copy_file_range(in, &from, out, &to, 10, 0));
	TRY(copy_file_range(in, NULL, out, NULL, 10, 1));
	from = 0;
	to = 50;
	TRY(copy_file_range(in, &from, in, &to, 100, 0));
	TRY(copy_file_range(out, NULL, -1, NULL, 10, 0));
}

static void copy_range_of_hole(void)
{
	int in = OPEN(open("f", O_CREAT | O_RDWR, 0644)), out = OPEN(open("g", O_CREAT | O_RDWR, 0644));

	TRY(ftruncate(in, 1 << 20));
	TRY(copy_file_range(in, NULL, out, NULL, 1 << 16, 0));
	SHOW(attributes("g").st_size);
	int d = OPEN(open(".", O_RDONLY));

	TRY(copy_file_range(d, NULL, out, NULL, 10, 0));
	int appending = OPEN(open("g", O_WRONLY | O_APPEND));

	TRY(copy_file_range(in, NULL, appending, NULL, 10, 0));
}

static void copy_by_sendfile(void)
{
	int in = patterned_file("f"), out = OPEN(open("g", O_CREAT | O_RDWR, 0644));
	off_t from = 100;
	size_t done = 0;

	while (done < 150000) {
		ssize_t n = sendfile(out, in, &from, 150000 - done);

		if (n <= 0)
			break;
		done += (size_t)n;
	}
	SHOW(done);
	SHOW(from);
	SHOW(same_pattern(out, 0, 150000, 100));
}

static void copy_to_socket(void)
{
	int in = patterned_file("f"), s[2];
	off_t from = 0;

	TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	TRY(sendfile(s[0], in, &from, 50000));
	memset(buffer, 0, SIZE);
	TRY(recv(s[1], buffer, 50000, MSG_WAITALL));
	SHOW(buffer[49999] == (char)(49999 * 31 + 49999 / 253));
}

static void copy_by_splice(void)
{
	int in = patterned_file("f"), out = OPEN(open("g", O_CREAT | O_RDWR, 0644)), p[2];
	loff_t from = 5, to = 0;

	TRY(pipe(p));
	TRY(splice(in, &from, p[1], NULL, 20000, 0));
	TRY(splice(p[0], NULL, out, &to, 20000, 0));
	SHOW(same_pattern(out, 0, 20000, 5));
}

static void copy_clone(void)
{
	int in = patterned_file("f"), out = OPEN(open("g", O_CREAT | O_RDWR, 0644));

	(void)in;
	TRY(ioctl(out, _IOW(0x94, 9, int), -1));
	int n = -1;

	TRY(ioctl(in, FIONREAD, &n));
	SHOW(n);
	TRY(ioctl(in, 0x1234, 0));
}

static void map_private(void)
{
	int fd = patterned_file("f");
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	SHOW(p != MAP_FAILED);
	SHOW(memcmp(p, buffer, SIZE));
	memset(p, 'x', SIZE);
	TRY(munmap(p, SIZE));
	SHOW(same_pattern(fd, 0, SIZE, 0));
}

static void map_private_at_offset(void)
{
	int fd = patterned_file("f");
	char *p = mmap(NULL, 10 * PAGE, PROT_READ, MAP_PRIVATE, fd, 3 * PAGE);

	SHOW(p != MAP_FAILED);
	SHOW(memcmp(p, buffer + 3 * PAGE, 10 * PAGE));
	TRY(munmap(p, 10 * PAGE));
	SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 1) == MAP_FAILED);
	SHOW(mmap(NULL, 0, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED);
}

static void map_end_of_file(void)
{
	int fd = OPEN(open("f", O_CREAT | O_RDWR, 0644));
	char *p;

	TRY(write(fd, "text", 4));
	p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	TEXT(p);
	SHOW(all_bytes(p + 4, 0, PAGE - 4));
	TRY(close(fd));
	TEXT(p);
	TRY(munmap(p, PAGE));
}

static void map_shared_read(void)
{
	int fd = patterned_file("f");
	char *p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);

	SHOW(p != MAP_FAILED);
	SHOW(memcmp(p, buffer, SIZE));
	TRY(msync(p, SIZE, MS_SYNC));
	TRY(munmap(p, SIZE));
}

static void map_shared_write(void)
{
	int fd = patterned_file("f");
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	SHOW(p != MAP_FAILED);
	if (p == MAP_FAILED)
		return;
	memcpy(p + PAGE, "changed", 7);
	TRY(msync(p, 4 * PAGE, MS_SYNC));
	memset(buffer, 0, 16);
	TRY(pread(fd, buffer, 7, PAGE));
	TEXT(buffer);
	memcpy(p + 2 * PAGE, "again", 5);
	TRY(munmap(p, 4 * PAGE));
	memset(buffer, 0, 16);
	TRY(pread(fd, buffer, 5, 2 * PAGE));
	TEXT(buffer);
	SHOW(attributes("f").st_size);
}

static void map_permissions(void)
{
	int r, w;

	put_file("f", "text");
	r = OPEN(open("f", O_RDONLY));
	w = OPEN(open("f", O_WRONLY));
	SHOW(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, r, 0) == MAP_FAILED);
	SHOW(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, r, 0) == MAP_FAILED);
	SHOW(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, w, 0) == MAP_FAILED);
	int d = OPEN(open(".", O_RDONLY));

	SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, d, 0) == MAP_FAILED);
}

const struct fs_case copy_cases[] = {
	{ "copy_range", copy_range, false },
	{ "copy_range_of_hole", copy_range_of_hole, false },
	{ "copy_by_sendfile", copy_by_sendfile, false },
	{ "copy_to_socket", copy_to_socket, false },
	{ "copy_by_splice", copy_by_splice, false },
	{ "copy_clone", copy_clone, false },
	{ 0 }
};

const struct fs_case map_cases[] = {
	{ "map_private", map_private, false },
	{ "map_private_at_offset", map_private_at_offset, false },
	{ "map_end_of_file", map_end_of_file, false },
	{ "map_shared_read", map_shared_read, false },
	{ "map_shared_write", map_shared_write, false },
	{ "map_permissions", map_permissions, false },
	{ 0 }
};
