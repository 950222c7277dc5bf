/* SPDX-License-Identifier: MPL-2.0 */
/* Files in memory: those of /dev/shm and of memfd_create. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#define PAGE 4096
#define MIB (1 << 20)

static int open_shm(void)
{
	int fd = OK(shm_open("/lkl-check-memory", O_RDWR | O_CREAT | O_TRUNC, 0600));

	OK(shm_unlink("/lkl-check-memory"));
	return fd;
}

static int open_memfd(void)
{
	return OK(memfd_create("memory", 0));
}

static int (*const openers[])(void) = { open_shm, open_memfd };

#define KINDS (sizeof(openers) / sizeof(openers[0]))

static blkcnt_t blocks_of(int fd)
{
	struct stat st;

	OK(fstat(fd, &st));
	return st.st_blocks;
}

static off_t size_of(int fd)
{
	struct stat st;

	OK(fstat(fd, &st));
	return st.st_size;
}

/* A file is large without taking memory. */
static void large(void)
{
	char byte;

	for (size_t i = 0; i < KINDS; i++) {
		int fd = openers[i]();

		OK(ftruncate(fd, 5 * MIB));
		IS(size_of(fd), 5 * MIB);
		OK(ftruncate(fd, (off_t)1 << 40));
		IS(size_of(fd), (off_t)1 << 40);
		IS(blocks_of(fd), 0);
		GIVES(pread(fd, &byte, 1, ((off_t)1 << 40) - 1), 1);
		IS(byte, 0);
		GIVES(pwrite(fd, "x", 1, (off_t)1 << 39), 1);
		IS(blocks_of(fd), PAGE / 512);
		OK(close(fd));
	}
}

static void reserved(void)
{
	for (size_t i = 0; i < KINDS; i++) {
		int fd = openers[i]();

		ZERO(posix_fallocate(fd, 0, MIB));
		IS(size_of(fd), MIB);
		IS(blocks_of(fd), MIB / 512);
		OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, MIB, PAGE));
		IS(size_of(fd), MIB);
		IS(blocks_of(fd), (MIB + PAGE) / 512);
		OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, 3 * PAGE));
		IS(blocks_of(fd), (MIB - 2 * PAGE) / 512);
		GIVES(pwrite(fd, "x", 1, 0), 1);
		GIVES(pwrite(fd, "x", 1, 4 * PAGE), 1);
		GIVES(lseek(fd, 0, SEEK_HOLE), PAGE);
		GIVES(lseek(fd, PAGE, SEEK_DATA), 4 * PAGE);
		FAILS(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE), EOPNOTSUPP);
		FAILS(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, PAGE), EOPNOTSUPP);
		OK(ftruncate(fd, 0));
		IS(blocks_of(fd), 0);
		OK(close(fd));
	}
}

/* A reservation that fails leaves nothing. */
static void reserved_too_much(void)
{
	int fd = open_shm();

	GIVES(write(fd, "text", 4), 4);
	FAILS(fallocate(fd, 0, 0, (off_t)1 << 45), ENOSPC);
	IS(size_of(fd), 4);
	IS(blocks_of(fd), PAGE / 512);
	OK(close(fd));
}

static void space(void)
{
	struct statvfs before, after;
	int fd = open_shm();

	OK(statvfs("/dev/shm", &before));
	TRUE(before.f_blocks > 0 && before.f_bfree > 0 && before.f_bavail > 0);
	TRUE(before.f_files > 0 && before.f_ffree > 0);
	IS(before.f_bsize, PAGE);
	ZERO(posix_fallocate(fd, 0, MIB));
	OK(fstatvfs(fd, &after));
	IS(after.f_blocks, before.f_blocks);
	TRUE(before.f_bfree - after.f_bfree >= MIB / PAGE);
	OK(close(fd));
}

static void security_attributes(void)
{
	char value[10];

	put_file("/dev/shm/lkl-check-attribute", "text");
	FAILS(getxattr("/dev/shm/lkl-check-attribute", "trusted.a", value, 10), ENODATA);
	OK(setxattr("/dev/shm/lkl-check-attribute", "trusted.a", "one", 3, XATTR_CREATE));
	FAILS(setxattr("/dev/shm/lkl-check-attribute", "trusted.a", "one", 3, XATTR_CREATE), EEXIST);
	GIVES(getxattr("/dev/shm/lkl-check-attribute", "trusted.a", value, 10), 3);
	GIVES(listxattr("/dev/shm/lkl-check-attribute", value, 10), 10);
	TEXT(value, "trusted.a");
	OK(removexattr("/dev/shm/lkl-check-attribute", "trusted.a"));
	FAILS(removexattr("/dev/shm/lkl-check-attribute", "trusted.a"), ENODATA);
	OK(unlink("/dev/shm/lkl-check-attribute"));
}

/* The mapping keeps the file. */
static void unlinked_while_mapped(void)
{
	int fd = OK(open("/dev/shm/lkl-check-unlinked", O_RDWR | O_CREAT | O_TRUNC, 0600));
	char *p;

	OK(ftruncate(fd, 4 * PAGE));
	p = MAP(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	OK(unlink("/dev/shm/lkl-check-unlinked"));
	OK(close(fd));
	strcpy(p + 3 * PAGE, "still");
	TRUE(all_bytes(p, 0, 3 * PAGE));
	TEXT(p + 3 * PAGE, "still");
	OK(munmap(p, 4 * PAGE));
}

/* The part of a mapping beyond the end of the file is not part of the file. */
static void mapped_beyond_end(void)
{
	for (size_t i = 0; i < KINDS; i++) {
		int fd = openers[i]();
		char *p;

		OK(ftruncate(fd, PAGE));
		p = MAP(mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
		strcpy(p, "text");
		OK(munmap(p, 8 * PAGE));
		IS(blocks_of(fd), PAGE / 512);
		IS(size_of(fd), PAGE);
		OK(close(fd));
	}
}

const struct check memory_file_checks[] = {
	{ "memory_file_large", large },
	{ "memory_file_reserved", reserved },
	{ "memory_file_reserved_too_much", reserved_too_much },
	{ "memory_file_space", space },
	{ "memory_file_security_attributes", security_attributes },
	{ "memory_file_unlinked_while_mapped", unlinked_while_mapped },
	{ "memory_file_mapped_beyond_end", mapped_beyond_end },
	{ 0 }
};
