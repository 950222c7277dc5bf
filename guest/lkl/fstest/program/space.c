/* SPDX-License-Identifier: MPL-2.0 */
/* Holes, fallocate, sizes in blocks, statvfs. */
#define _GNU_SOURCE
#include "fstest.h"

#include <linux/falloc.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#define KIB 1024

static char buffer[256 * KIB];

static int new_file(size_t size)
{
	int fd = open("f", O_CREAT | O_RDWR | O_TRUNC, 0644);

	memset(buffer, 'x', sizeof(buffer));
	if (write(fd, buffer, size) != (ssize_t)size)
		fs_label("short write");
	return fd;
}

static void hole_reads_zeros(void)
{
	int fd = new_file(0);

	TRY(pwrite(fd, "end", 3, 10 << 20));
	TRY(pread(fd, buffer, sizeof(buffer), 5 << 20));
	SHOW(all_bytes(buffer, 0, sizeof(buffer)));
	SHOW(attributes("f").st_size);
	SHOW(attributes("f").st_blocks < 1000);
}

static void hole_seek(void)
{
	int fd = new_file(0);

	TRY(ftruncate(fd, 1 << 20));
	TRY(pwrite(fd, buffer, 64 * KIB, 256 * KIB));
	TRY(pwrite(fd, buffer, 64 * KIB, 768 * KIB));
	TRY(fsync(fd));
	TRY(lseek(fd, 0, SEEK_DATA));
	TRY(lseek(fd, 0, SEEK_HOLE));
	TRY(lseek(fd, 256 * KIB, SEEK_DATA));
	TRY(lseek(fd, 256 * KIB, SEEK_HOLE));
	TRY(lseek(fd, 400 * KIB, SEEK_DATA));
	TRY(lseek(fd, 800 * KIB, SEEK_HOLE));
	TRY(lseek(fd, 900 * KIB, SEEK_DATA));
	TRY(lseek(fd, 900 * KIB, SEEK_HOLE));
	TRY(lseek(fd, 2 << 20, SEEK_DATA));
	TRY(lseek(fd, 2 << 20, SEEK_HOLE));
	TRY(lseek(fd, -1, SEEK_DATA));
	TRY(read(fd, buffer, 10));
}

static void hole_seek_of_full_file(void)
{
	int fd = new_file(10000);

	TRY(fsync(fd));
	TRY(lseek(fd, 0, SEEK_HOLE));
	TRY(lseek(fd, 5000, SEEK_DATA));
	TRY(lseek(fd, 10000, SEEK_DATA));
	TRY(ftruncate(fd, 0));
	TRY(lseek(fd, 0, SEEK_HOLE));
	TRY(lseek(fd, 0, SEEK_DATA));
}

static void fallocate_plain(void)
{
	int fd = new_file(100);

	TRY(fallocate(fd, 0, 0, 65536));
	SHOW(attributes("f").st_size);
	SHOW(attributes("f").st_blocks >= 128);
	TRY(pread(fd, buffer, 65536, 0));
	SHOW(all_bytes(buffer, 'x', 100));
	SHOW(all_bytes(buffer + 100, 0, 65536 - 100));
	TRY(fallocate(fd, 0, 100000, 1));
	SHOW(attributes("f").st_size);
	TRY(posix_fallocate(fd, 0, 200000));
	SHOW(attributes("f").st_size);
}

static void fallocate_keeps_size(void)
{
	int fd = new_file(100);

	TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1 << 20));
	SHOW(attributes("f").st_size);
	SHOW(attributes("f").st_blocks >= 2048);
	TRY(pread(fd, buffer, 200, 0));
	TRY(ftruncate(fd, 100));
}

static void fallocate_punches(void)
{
	int fd = new_file(64 * KIB);

	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 20000));
	TRY(pread(fd, buffer, 64 * KIB, 0));
	SHOW(all_bytes(buffer, 'x', 5000));
	SHOW(all_bytes(buffer + 5000, 0, 20000));
	SHOW(all_bytes(buffer + 25000, 'x', 64 * KIB - 25000));
	SHOW(attributes("f").st_size);
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4096));
	SHOW(attributes("f").st_size);
	TRY(lseek(fd, 0, SEEK_HOLE));
}

static void fallocate_zeroes(void)
{
	int fd = new_file(64 * KIB);

	TRY(fallocate(fd, FALLOC_FL_ZERO_RANGE, 100, 10000));
	TRY(pread(fd, buffer, 64 * KIB, 0));
	SHOW(all_bytes(buffer, 'x', 100));
	SHOW(all_bytes(buffer + 100, 0, 10000));
	SHOW(all_bytes(buffer + 10100, 'x', 64 * KIB - 10100));
	TRY(fallocate(fd, FALLOC_FL_ZERO_RANGE, 60 * KIB, 8 * KIB));
	SHOW(attributes("f").st_size);
	TRY(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 64 * KIB, 64 * KIB));
	SHOW(attributes("f").st_size);
}

static void fallocate_collapses(void)
{
	int fd = new_file(64 * KIB);

	TRY(pwrite(fd, "mark", 4, 32 * KIB));
	TRY(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 8 * KIB, 16 * KIB));
	SHOW(attributes("f").st_size);
	memset(buffer, 0, sizeof(buffer));
	TRY(pread(fd, buffer, 4, 16 * KIB));
	TEXT(buffer);
	TRY(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 1, 4096));
}

static void fallocate_inserts(void)
{
	int fd = new_file(64 * KIB);

	TRY(fallocate(fd, FALLOC_FL_INSERT_RANGE, 8 * KIB, 16 * KIB));
	SHOW(attributes("f").st_size);
	TRY(pread(fd, buffer, 64 * KIB, 0));
	SHOW(all_bytes(buffer, 'x', 8 * KIB));
	SHOW(buffer[24 * KIB]);
}

static void fallocate_errors(void)
{
	int fd = new_file(10), d;

	TRY(fallocate(fd, 0, 0, 0));
	TRY(fallocate(fd, 0, -1, 10));
	TRY(fallocate(fd, 0, 0, -1));
	TRY(fallocate(fd, 0x4000, 0, 10));
	d = OPEN(open(".", O_RDONLY));
	TRY(fallocate(d, 0, 0, 10));
	fd = OPEN(open("f", O_RDONLY));
	TRY(fallocate(fd, 0, 0, 10));
	TRY(fallocate(-1, 0, 0, 10));
}

static void blocks_of_files(void)
{
	struct stat st;
	int fd = new_file(64 * KIB);

	TRY(fsync(fd));
	st = attributes("f");
	SHOW(st.st_blocks * 512 >= 64 * KIB);
	SHOW(st.st_blksize >= 512);
	TRY(ftruncate(fd, 0));
	SHOW(attributes("f").st_blocks);
	TRY(ftruncate(fd, 1 << 30));
	SHOW(attributes("f").st_blocks);
}

static void statvfs_of_directory(void)
{
	struct statvfs a, b;
	int fd;

	put_file("f", "");
	fd = OPEN(open("f", O_RDONLY));
	TRY(statvfs(".", &a));
	TRY(fstatvfs(fd, &b));
	SHOW(a.f_blocks == b.f_blocks);
	SHOW(a.f_namemax);
	SHOW(a.f_blocks >= a.f_bfree && a.f_bfree >= a.f_bavail);
	SHOW(a.f_bavail > 0);
	SHOW(a.f_files >= a.f_ffree && a.f_ffree > 0);
	SHOW(a.f_frsize >= 512);
	TRY(statvfs("none", &a));
	TRY(statvfs("f/x", &a));
}

static void device_numbers(void)
{
	mkdir("d", 0777);
	put_file("d/f", "");
	symlink("f", "d/s");
	SHOW(attributes("d").st_dev == attributes(".").st_dev);
	SHOW(attributes("d/f").st_dev == attributes(".").st_dev);
	SHOW(attributes("d/s").st_dev == attributes(".").st_dev);
	SHOW(attributes("/proc").st_dev == attributes(".").st_dev);
	SHOW(attributes("d").st_ino != attributes("d/f").st_ino);
	SHOW(attributes("d/f").st_ino != attributes("d/s").st_ino);
	SHOW(attributes("d/f").st_ino == attributes("d/f").st_ino);
}

const struct fs_case space_cases[] = {
	{ "hole_reads_zeros", hole_reads_zeros, false },
	{ "hole_seek", hole_seek, false },
	{ "hole_seek_of_full_file", hole_seek_of_full_file, false },
	{ "fallocate_plain", fallocate_plain, false },
	{ "fallocate_keeps_size", fallocate_keeps_size, false },
	{ "fallocate_punches", fallocate_punches, false },
	{ "fallocate_zeroes", fallocate_zeroes, false },
	{ "fallocate_collapses", fallocate_collapses, false },
	{ "fallocate_inserts", fallocate_inserts, false },
	{ "fallocate_errors", fallocate_errors, false },
	{ "blocks_of_files", blocks_of_files, false },
	{ "statvfs_of_directory", statvfs_of_directory, false },
	{ "device_numbers", device_numbers, false },
	{ 0 }
};
