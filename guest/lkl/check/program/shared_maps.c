/* SPDX-License-Identifier: MPL-2.0 */
/* Shared mappings of files on disk, in /dev/shm and of memfd_create. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE 4096

static int open_disk(void)
{
	return OK(open("file", O_RDWR | O_CREAT | O_TRUNC, 0666));
}

static int open_shm(void)
{
	int fd = OK(shm_open("/lkl-check-map", O_RDWR | O_CREAT | O_TRUNC, 0600));

	OK(shm_unlink("/lkl-check-map"));
	return fd;
}

static int open_memory(void)
{
	return OK(memfd_create("mapped", 0));
}

static int (*const openers[])(void) = { open_disk, open_shm, open_memory };

#define KINDS (sizeof(openers) / sizeof(openers[0]))

static char *map(int fd, size_t n, off_t at)
{
	return MAP(mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at));
}

static void with_calls(void)
{
	char text[PAGE];

	for (size_t i = 0; i < KINDS; i++) {
		int fd = openers[i]();
		char *p;

		GIVES(write(fd, "first", 5), 5);
		OK(ftruncate(fd, 3 * PAGE));
		p = map(fd, 3 * PAGE, 0);
		TEXT(p, "first");
		TRUE(all_bytes(p + 5, 0, 3 * PAGE - 5));
		GIVES(pwrite(fd, "written", 7, PAGE - 3), 7);
		TRUE(memcmp(p + PAGE - 3, "written", 7) == 0);
		strcpy(p + 2 * PAGE, "mapped");
		GIVES(pread(fd, text, PAGE, 2 * PAGE), PAGE);
		TEXT(text, "mapped");
		OK(munmap(p, 3 * PAGE));
		GIVES(pread(fd, text, PAGE, 2 * PAGE), PAGE);
		TEXT(text, "mapped");
		OK(close(fd));
	}
}

/*
 * The second mapping of a page may be refused, but must not be a copy. Natively both
 * succeed.
 */
static void at_a_place(void)
{
	for (size_t i = 0; i < KINDS; i++) {
		int fd = openers[i]();
		char *p, *q, *place;

		OK(ftruncate(fd, 2 * PAGE));
		place = MAP(mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		p = mmap(place, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
		TRUE(p == place);
		q = mmap(place + 2 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
		TRUE(q == place + 2 * PAGE || errno == ENOMEM);
		strcpy(p, "one");
		GIVES(pwrite(fd, "two", 4, PAGE), 4);
		TEXT(p + PAGE, "two");
		TRUE(q == MAP_FAILED || (strcmp(q, "one") == 0 && strcmp(q + PAGE, "two") == 0));
		/* Without MAP_FIXED they always share. */
		q = map(fd, PAGE, PAGE);
		TEXT(q, "two");
		strcpy(q, "three");
		TEXT(p + PAGE, "three");
		OK(munmap(place, 4 * PAGE));
		OK(munmap(q, PAGE));
		OK(close(fd));
	}
}

static void overlapping(void)
{
	for (size_t i = 0; i < KINDS; i++) {
		int fd = openers[i]();
		char *p, *q, *r;

		OK(ftruncate(fd, 8 * PAGE));
		p = map(fd, 8 * PAGE, 0);
		q = map(fd, 2 * PAGE, 3 * PAGE);
		r = map(fd, PAGE, 4 * PAGE);
		strcpy(p + 4 * PAGE, "all");
		TEXT(q + PAGE, "all");
		TEXT(r, "all");
		/* Unmapping one does not affect the others. */
		OK(munmap(p, 8 * PAGE));
		strcpy(q + PAGE, "still");
		TEXT(r, "still");
		OK(munmap(q, 2 * PAGE));
		TEXT(r, "still");
		OK(munmap(r, PAGE));
		p = map(fd, 8 * PAGE, 0);
		TEXT(p + 4 * PAGE, "still");
		OK(munmap(p + PAGE, PAGE));
		strcpy(p + 2 * PAGE, "cut");
		OK(munmap(p, 8 * PAGE));
		p = map(fd, 3 * PAGE, 0);
		TEXT(p + 2 * PAGE, "cut");
		OK(munmap(p, 3 * PAGE));
		OK(close(fd));
	}
}

static void file_grows(void)
{
	char text[8];

	for (size_t i = 0; i < KINDS; i++) {
		int fd = openers[i]();
		char *p = map(fd, 4 * PAGE, 0);

		GIVES(write(fd, "begin", 6), 6);
		TEXT(p, "begin");
		GIVES(pwrite(fd, "end", 4, 3 * PAGE), 4);
		TEXT(p + 3 * PAGE, "end");
		TRUE(all_bytes(p + PAGE, 0, 2 * PAGE));
		strcpy(p + PAGE, "hole");
		GIVES(pread(fd, text, 5, PAGE), 5);
		TEXT(text, "hole");
		OK(munmap(p, 4 * PAGE));
		OK(close(fd));
	}
}

static void file_shrinks(void)
{
	char text[8];

	for (size_t i = 0; i < KINDS; i++) {
		int fd = openers[i]();
		char *p;

		OK(ftruncate(fd, 4 * PAGE));
		p = map(fd, 4 * PAGE, 0);
		memset(p, 'x', 4 * PAGE);
		OK(ftruncate(fd, PAGE + 10));
		TRUE(all_bytes(p, 'x', PAGE + 10) && all_bytes(p + PAGE + 10, 0, PAGE - 10));
		OK(ftruncate(fd, 4 * PAGE));
		TRUE(all_bytes(p + PAGE + 10, 0, 3 * PAGE - 10));
		strcpy(p + 2 * PAGE, "again");
		GIVES(pread(fd, text, 6, 2 * PAGE), 6);
		TEXT(text, "again");
		GIVES(pwrite(fd, "written", 8, 3 * PAGE), 8);
		TEXT(p + 3 * PAGE, "written");
		OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * PAGE, PAGE));
		TRUE(all_bytes(p + 2 * PAGE, 0, PAGE));
		strcpy(p + 2 * PAGE, "hole");
		GIVES(pread(fd, text, 5, 2 * PAGE), 5);
		TEXT(text, "hole");
		OK(munmap(p, 4 * PAGE));
		OK(close(fd));
	}
}

static bool reads_zeros(int fd, size_t n)
{
	char page[PAGE];

	for (size_t at = 0; at < n; at += PAGE) {
		GIVES(pread(fd, page, PAGE, at), PAGE);
		if (!all_bytes(page, 0, PAGE))
			return false;
	}
	return true;
}

/* Content that the file had before it was emptied comes back neither by a mapping nor by a write-back. */
static void file_is_emptied(void)
{
	char byte;

	for (size_t i = 0; i < KINDS; i++) {
		int fd = openers[i]();
		char *p, *q;

		OK(ftruncate(fd, 3 * PAGE));
		p = map(fd, 3 * PAGE, 0);
		memset(p, 'x', 3 * PAGE);
		OK(ftruncate(fd, 0));
		GIVES(pread(fd, &byte, 1, 0), 0);
		OK(ftruncate(fd, 3 * PAGE));
		TRUE(reads_zeros(fd, 3 * PAGE));
		TRUE(all_bytes(p, 0, 3 * PAGE));
		p[PAGE] = 'y';
		GIVES(pread(fd, &byte, 1, PAGE), 1);
		IS(byte, 'y');
		/* The mapping goes while the file is empty. */
		memset(p, 'z', 3 * PAGE);
		OK(ftruncate(fd, 0));
		OK(msync(p, 3 * PAGE, MS_SYNC));
		OK(fsync(fd));
		OK(munmap(p, 3 * PAGE));
		OK(ftruncate(fd, 3 * PAGE));
		TRUE(reads_zeros(fd, 3 * PAGE));
		q = map(fd, 3 * PAGE, 0);
		TRUE(all_bytes(q, 0, 3 * PAGE));
		OK(munmap(q, 3 * PAGE));
		OK(close(fd));
	}
}

static void other_memory_in_place(void)
{
	for (size_t i = 0; i < KINDS; i++) {
		int fd = openers[i]();
		char *p, text[8];

		OK(ftruncate(fd, 3 * PAGE));
		p = map(fd, 3 * PAGE, 0);
		strcpy(p + PAGE, "kept");
		TRUE(mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + PAGE);
		TRUE(all_bytes(p + PAGE, 0, PAGE));
		strcpy(p + PAGE, "private");
		strcpy(p + 2 * PAGE, "shared");
		GIVES(pread(fd, text, 5, PAGE), 5);
		TEXT(text, "kept");
		GIVES(pread(fd, text, 7, 2 * PAGE), 7);
		TEXT(text, "shared");
		OK(munmap(p, 3 * PAGE));
		OK(close(fd));
	}
}

/* The place of a mapping is given to other pages of its file, and to another file. */
static void other_pages_in_place(void)
{
	for (size_t i = 0; i < KINDS; i++) {
		int fd = openers[i](), other = OK(memfd_create("other", 0));
		char *p, text[8];

		GIVES(write(fd, "zero", 5), 5);
		GIVES(pwrite(fd, "one", 4, PAGE), 4);
		GIVES(write(other, "other", 6), 6);
		p = map(fd, PAGE, 0);
		strcpy(p, "ZERO");
		TRUE(mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, PAGE) == p);
		TEXT(p, "one");
		strcpy(p, "ONE");
		TRUE(mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, other, 0) == p);
		TEXT(p, "other");
		strcpy(p, "OTHER");
		TRUE(mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == p);
		TEXT(p, "ZERO");
		GIVES(pread(fd, text, 4, PAGE), 4);
		TEXT(text, "ONE");
		GIVES(pread(other, text, 6, 0), 6);
		TEXT(text, "OTHER");
		OK(munmap(p, PAGE));
		OK(close(fd));
		OK(close(other));
	}
}

static void private_stays_private(void)
{
	int fd = open_disk();
	char *p, *q, text[8];

	OK(ftruncate(fd, PAGE));
	p = map(fd, PAGE, 0);
	strcpy(p, "shared");
	q = MAP(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
	TEXT(q, "shared");
	strcpy(q, "private");
	TEXT(p, "shared");
	GIVES(pread(fd, text, 7, 0), 7);
	TEXT(text, "shared");
	OK(munmap(q, PAGE));
	OK(munmap(p, PAGE));
}

/* Changes through a mapping reach the disk by fsync, and set the time of the file. */
static void file_is_synchronized(void)
{
	int fd = open_disk();
	struct stat before, after;
	char *p;

	OK(ftruncate(fd, 2 * PAGE));
	OK(fsync(fd));
	OK(fstat(fd, &before));
	IS(before.st_blocks, 0);
	p = map(fd, 2 * PAGE, 0);
	sleep_ms(20);
	strcpy(p + PAGE, "changed");
	OK(fsync(fd));
	OK(fstat(fd, &after));
	TRUE(after.st_blocks > 0);
	TRUE(after.st_mtim.tv_sec > before.st_mtim.tv_sec ||
	     (after.st_mtim.tv_sec == before.st_mtim.tv_sec && after.st_mtim.tv_nsec > before.st_mtim.tv_nsec));
	OK(munmap(p, 2 * PAGE));
}

static void *change_pages(void *arg)
{
	int fd = *(int *)arg;

	for (int i = 0; i < 200; i++) {
		char *p = map(fd, 4 * PAGE, 0);

		p[i % (4 * PAGE)] = 1;
		OK(msync(p, 4 * PAGE, i % 2 ? MS_SYNC : MS_ASYNC));
		OK(munmap(p, 4 * PAGE));
	}
	return NULL;
}

/* One thread unmaps what others map and synchronize. */
static void in_threads(void)
{
	int fd = open_disk();
	pthread_t threads[4];

	OK(ftruncate(fd, 4 * PAGE));
	for (int i = 0; i < 4; i++)
		threads[i] = start_thread(change_pages, &fd);
	for (int i = 0; i < 20; i++) {
		OK(ftruncate(fd, PAGE));
		OK(ftruncate(fd, 4 * PAGE));
		sleep_ms(1);
	}
	for (int i = 0; i < 4; i++)
		join_thread(threads[i]);
}

const struct check shared_map_checks[] = {
	{ "shared_map_with_calls", with_calls },
	{ "shared_map_at_a_place", at_a_place },
	{ "shared_map_overlapping", overlapping },
	{ "shared_map_file_grows", file_grows },
	{ "shared_map_file_shrinks", file_shrinks },
	{ "shared_map_file_is_emptied", file_is_emptied },
	{ "shared_map_other_memory_in_place", other_memory_in_place },
	{ "shared_map_other_pages_in_place", other_pages_in_place },
	{ "shared_map_private_stays_private", private_stays_private },
	{ "shared_map_file_is_synchronized", file_is_synchronized },
	{ "shared_map_in_threads", in_threads },
	{ 0 }
};
