/* SPDX-License-Identifier: MPL-2.0 */
/* Mappings: mmap, mremap, madvise, msync. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define PAGE 4096

static char *anonymous(size_t size)
{
	return MAP(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static void anonymous_memory(void)
{
	char *p = anonymous(5 * PAGE + 1);

	IS((uintptr_t)p % PAGE, 0);
	TRUE(all_bytes(p, 0, 6 * PAGE));
	memset(p, 'x', 6 * PAGE);
	OK(munmap(p + PAGE, PAGE));
	TRUE(all_bytes(p, 'x', PAGE) && all_bytes(p + 2 * PAGE, 'x', 4 * PAGE));
	OK(munmap(p, 6 * PAGE));
	OK(munmap(p, 6 * PAGE));
	/* A new mapping never contains old data. */
	for (int i = 0; i < 20; i++) {
		p = anonymous(64 * PAGE);
		TRUE(all_bytes(p, 0, 64 * PAGE));
		memset(p, 'y', 64 * PAGE);
		OK(munmap(p, 64 * PAGE));
	}
}

static void wrong_arguments(void)
{
	int fd = OK(open("file", O_RDWR | O_CREAT, 0666)), pipes[2];
	char *p = anonymous(PAGE);

	OK(pipe(pipes));
	TRUE(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	IS(errno, EINVAL);
	TRUE(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	IS(errno, EINVAL);
	TRUE(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0) == MAP_FAILED);
	IS(errno, EBADF);
	TRUE(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 1) == MAP_FAILED);
	IS(errno, EINVAL);
	TRUE(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, pipes[0], 0) == MAP_FAILED);
	IS(errno, ENODEV);
	TRUE(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, OK(open("file", O_WRONLY)), 0) == MAP_FAILED);
	IS(errno, EACCES);
	TRUE(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, OK(open("file", O_RDONLY)), 0) == MAP_FAILED);
	IS(errno, EACCES);
	FAILS(munmap(p + 1, PAGE), EINVAL);
	FAILS(munmap(p, 0), EINVAL);
	/* A direct call, since musl rounds the address down. */
	FAILS(syscall(SYS_mprotect, p + 1, PAGE, PROT_READ), EINVAL);
	FAILS(madvise(p + 1, PAGE, MADV_NORMAL), EINVAL);
	OK(munmap(p, PAGE));
}

static int map_error(int flags, int fd, off_t at)
{
	void *p = mmap(NULL, PAGE, PROT_READ, flags, fd, at);

	if (p == MAP_FAILED)
		return errno;
	OK(munmap(p, PAGE));
	return 0;
}

/* Unknown flags are ignored, except with MAP_SHARED_VALIDATE. */
static void flags(void)
{
	int fd = OK(open("file", O_RDWR | O_CREAT, 0666)), zero = OK(open("/dev/zero", O_RDONLY));
	const int unknown = 1 << 22;

	OK(ftruncate(fd, PAGE));
	IS(map_error(MAP_SHARED, fd, 0), 0);
	IS(map_error(MAP_SHARED | unknown, fd, 0), 0);
	IS(map_error(MAP_PRIVATE | unknown, fd, 0), 0);
	IS(map_error(MAP_PRIVATE | MAP_ANONYMOUS | unknown, -1, 0), 0);
	IS(map_error(MAP_SHARED | MAP_ANONYMOUS | unknown, -1, 0), 0);
	IS(map_error(MAP_SHARED_VALIDATE, fd, 0), 0);
	IS(map_error(MAP_SHARED_VALIDATE | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK, fd, 0), 0);
	IS(map_error(MAP_SHARED_VALIDATE | unknown, fd, 0), EOPNOTSUPP);
	IS(map_error(MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0), EOPNOTSUPP);
	IS(map_error(MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0), EINVAL);
	IS(map_error(0, fd, 0), EINVAL);
	IS(map_error(4, fd, 0), EINVAL);
	IS(map_error(MAP_ANONYMOUS, -1, 0), EINVAL);
	IS(map_error(MAP_ANONYMOUS | 4, -1, 0), EINVAL);
	IS(map_error(MAP_SHARED | MAP_GROWSDOWN, fd, 0), EINVAL);
	IS(map_error(MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0), EINVAL);
	IS(map_error(MAP_PRIVATE | MAP_GROWSDOWN, fd, 0), EINVAL);
	IS(map_error(MAP_PRIVATE | MAP_HUGETLB, fd, 0), EINVAL);
	IS(map_error(MAP_PRIVATE, zero, 0), 0);
	IS(map_error(MAP_PRIVATE, fd, (off_t)1 << 40), 0);
	IS(map_error(MAP_PRIVATE, fd, (off_t)(~0UL >> 1) & ~(PAGE - 1UL)), EOVERFLOW);
	IS(map_error(MAP_SHARED, fd, (off_t)(~0UL >> 1) & ~(PAGE - 1UL)), EOVERFLOW);
	/* A direct call, since the C libraries check the length. */
	FAILS(syscall(SYS_mmap, NULL, 0, PROT_READ, MAP_PRIVATE, -1, 0), EBADF);
	FAILS(syscall(SYS_mmap, NULL, 0, PROT_READ, MAP_PRIVATE, fd, 0), EINVAL);
}

static void at_a_place(void)
{
	char *p = anonymous(8 * PAGE);

	memset(p, 'a', 8 * PAGE);
	TRUE(mmap(p + 2 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + 2 * PAGE);
	TRUE(all_bytes(p, 'a', 2 * PAGE) && all_bytes(p + 2 * PAGE, 0, 2 * PAGE) &&
	     all_bytes(p + 4 * PAGE, 'a', 4 * PAGE));
	TRUE(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
	     MAP_FAILED);
	IS(errno, EEXIST);
	TRUE(mmap(p + 1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	     MAP_FAILED);
	IS(errno, EINVAL);
	OK(munmap(p, 8 * PAGE));
}

static void grows_and_moves(void)
{
	char *p = anonymous(4 * PAGE), *q;

	memset(p, 'm', 4 * PAGE);
	q = MAP(mremap(p, 4 * PAGE, 100 * PAGE, MREMAP_MAYMOVE));
	TRUE(all_bytes(q, 'm', 4 * PAGE) && all_bytes(q + 4 * PAGE, 0, 96 * PAGE));
	memset(q, 'n', 100 * PAGE);
	TRUE(mremap(q, 100 * PAGE, PAGE, 0) == q);
	TRUE(all_bytes(q, 'n', PAGE));
	p = MAP(mremap(q, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
	TRUE(all_bytes(p, 'n', PAGE) && all_bytes(p + PAGE, 0, PAGE));
	TRUE(mremap(p + 1, PAGE, PAGE, 0) == MAP_FAILED);
	IS(errno, EINVAL);
	TRUE(mremap(p, PAGE, 0, 0) == MAP_FAILED);
	IS(errno, EINVAL);
	OK(munmap(p, 2 * PAGE));
}

static void moves_to_a_place(void)
{
	char *p = anonymous(2 * PAGE), *to = anonymous(4 * PAGE);

	memset(p, 'm', 2 * PAGE);
	memset(to, 't', 4 * PAGE);
	TRUE(mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	TRUE(all_bytes(to, 'm', 2 * PAGE) && all_bytes(to + 2 * PAGE, 't', 2 * PAGE));
	OK(munmap(to, 4 * PAGE));
}

/* A mapping of the pages of a memfd that has four and contains "end" in the last. */
static char *shared(int *fd, size_t pages)
{
	*fd = OK(memfd_create("shared", 0));
	OK(ftruncate(*fd, 4 * PAGE));
	GIVES(pwrite(*fd, "end", 4, 3 * PAGE), 4);
	return MAP(mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0));
}

/* The file must contain the text at the beginning of its second page. */
static void in_second_page(int fd, const char *want)
{
	char text[8];

	GIVES(pread(fd, text, sizeof(text), PAGE), sizeof(text));
	TEXT(text, want);
}

static void shared_grows(void)
{
	int fd;
	char *p = shared(&fd, 2);

	p = MAP(mremap(p, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE));
	TEXT(p + 3 * PAGE, "end");
	OK(munmap(p, 4 * PAGE));
}

static void shared_moves(void)
{
	int fd;
	char *p = shared(&fd, 2), *to = anonymous(2 * PAGE);

	TRUE(MAP(mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to)) == to);
	strcpy(to + PAGE, "moved");
	in_second_page(fd, "moved");
	OK(munmap(to, 2 * PAGE));
}

static void shared_shrinks(void)
{
	int fd;
	char *p = shared(&fd, 4), text[4];

	strcpy(p + 3 * PAGE, "cut");
	TRUE(mremap(p, 4 * PAGE, 2 * PAGE, 0) == p);
	strcpy(p + PAGE, "kept");
	in_second_page(fd, "kept");
	GIVES(pread(fd, text, 4, 3 * PAGE), 4);
	TEXT(text, "cut");
	OK(munmap(p, 2 * PAGE));
}

/* Natively a shared mapping may grow. If that is refused, it stays as it was. */
static void shared_grows_or_stays(void)
{
	int fd;
	char *p = shared(&fd, 2), *q = mremap(p, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
	size_t pages = q == MAP_FAILED ? 2 : 4;

	TRUE(q != MAP_FAILED || errno == ENOMEM);
	if (q == MAP_FAILED)
		q = p;
	strcpy(q + PAGE, "stays");
	in_second_page(fd, "stays");
	OK(munmap(q, pages * PAGE));
}

static void advised(void)
{
	char *p = anonymous(4 * PAGE);

	memset(p, 'x', 4 * PAGE);
	OK(madvise(p, 4 * PAGE, MADV_NORMAL));
	OK(madvise(p, 4 * PAGE, MADV_WILLNEED));
	TRUE(all_bytes(p, 'x', 4 * PAGE));
	OK(madvise(p + PAGE, PAGE, MADV_DONTNEED));
	TRUE(all_bytes(p, 'x', PAGE) && all_bytes(p + PAGE, 0, PAGE) &&
	     all_bytes(p + 2 * PAGE, 'x', 2 * PAGE));
	ERROR(posix_madvise(p, PAGE, POSIX_MADV_RANDOM), 0);
	FAILS(madvise(p, PAGE, 9999), EINVAL);
	OK(munmap(p, 4 * PAGE));
	FAILS(madvise(p, PAGE, MADV_NORMAL), ENOMEM);
}

/* Writes to a private mapping never reach the file. */
static void private_file(void)
{
	int fd = OK(open("file", O_RDWR | O_CREAT, 0666));
	char *p;

	for (int i = 0; i < 3; i++) {
		char page[PAGE];

		memset(page, 'a' + i, PAGE);
		GIVES(write(fd, page, PAGE), PAGE);
	}
	GIVES(write(fd, "end", 3), 3);
	p = MAP(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
	OK(close(fd));
	TRUE(all_bytes(p, 'a', PAGE) && all_bytes(p + 2 * PAGE, 'c', PAGE));
	TRUE(memcmp(p + 3 * PAGE, "end", 3) == 0 && all_bytes(p + 3 * PAGE + 3, 0, PAGE - 3));
	memset(p, 'z', PAGE);
	TRUE(get_file("file")[0] == 'a');
	OK(munmap(p, 4 * PAGE));
	fd = OK(open("file", O_RDONLY));
	p = MAP(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, PAGE));
	TRUE(all_bytes(p, 'b', PAGE));
	OK(munmap(p, PAGE));
}

static void shared_file(void)
{
	int fd = OK(open("file", O_RDWR | O_CREAT, 0666));
	char *p, *q;

	OK(ftruncate(fd, 2 * PAGE));
	p = MAP(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	q = MAP(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	strcpy(p, "through one");
	TEXT(q, "through one");
	OK(msync(p, 2 * PAGE, MS_SYNC));
	TEXT(get_file("file"), "through one");
	strcpy(q, "the other");
	OK(munmap(q, 2 * PAGE));
	OK(munmap(p, 2 * PAGE));
	TEXT(get_file("file"), "the other");
	FAILS(msync(p, PAGE, MS_SYNC), ENOMEM);
}

/*
 * A page that was first mapped through a read-only descriptor is still written
 * back through a writable one.
 */
static void shared_read_first(void)
{
	int fd = OK(open("file", O_RDWR | O_CREAT, 0666)), only = OK(open("file", O_RDONLY));
	char *p, *q;

	OK(ftruncate(fd, PAGE));
	p = MAP(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, only, 0));
	FAILS(mprotect(p, PAGE, PROT_READ | PROT_WRITE), EACCES);
	q = MAP(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	strcpy(q, "written");
	OK(msync(q, PAGE, MS_SYNC));
	TEXT(get_file("file"), "written");
	TEXT(p, "written");
	OK(munmap(p, PAGE));
	OK(munmap(q, PAGE));
	p = MAP(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
	OK(mprotect(p, PAGE, PROT_READ | PROT_WRITE));
	strcpy(p, "later");
	OK(munmap(p, PAGE));
	TEXT(get_file("file"), "later");
}

/*
 * Changes are visible in the file without msync or munmap: natively the mapping
 * is the page cache.
 */
static void shared_at_once(void)
{
	int fd = OK(open("file", O_RDWR | O_CREAT, 0666));
	char *p;

	OK(ftruncate(fd, PAGE));
	p = MAP(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	strcpy(p, "mapped");
	TEXT(get_file("file"), "mapped");
	GIVES(pwrite(fd, "WRITTEN", 7, 0), 7);
	TEXT(p, "WRITTEN");
	OK(munmap(p, PAGE));
}

static void shared_anonymous(void)
{
	int flags = MAP_SHARED | MAP_ANONYMOUS;
	char *p = MAP(mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0)), *q;
	int fd;

	TRUE(all_bytes(p, 0, 3 * PAGE));
	strcpy(p, "text");
	OK(munmap(p, 3 * PAGE));
	fd = OK(open("/dev/zero", O_RDWR));
	q = MAP(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
	TRUE(all_bytes(q, 0, PAGE));
	OK(munmap(q, PAGE));
}

static void shared_by_name(void)
{
	int fd = OK(shm_open("/lkl-check", O_RDWR | O_CREAT | O_EXCL, 0600)), other;
	char *p, *q;

	FAILS(shm_open("/lkl-check", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	OK(ftruncate(fd, PAGE));
	other = OK(shm_open("/lkl-check", O_RDWR, 0));
	p = MAP(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	q = MAP(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0));
	strcpy(p, "text");
	TEXT(q, "text");
	OK(munmap(p, PAGE));
	OK(munmap(q, PAGE));
	OK(shm_unlink("/lkl-check"));
	FAILS(shm_open("/lkl-check", O_RDWR, 0), ENOENT);
}

static void in_memory_file(void)
{
	int fd = OK(memfd_create("name", MFD_CLOEXEC));
	char text[8] = "", *p;

	GIVES(write(fd, "text", 4), 4);
	GIVES(pread(fd, text, 8, 0), 4);
	OK(ftruncate(fd, PAGE));
	p = MAP(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	TEXT(p, "text");
	OK(munmap(p, PAGE));
}

const struct check map_checks[] = {
	{ "map_anonymous", anonymous_memory },
	{ "map_wrong_arguments", wrong_arguments },
	{ "map_flags", flags },
	{ "map_at_a_place", at_a_place },
	{ "map_grows_and_moves", grows_and_moves },
	{ "map_moves_to_a_place", moves_to_a_place },
	{ "map_advised", advised },
	{ "map_private_file", private_file },
	{ "map_shared_file", shared_file },
	{ "map_shared_read_first", shared_read_first },
	{ "map_shared_at_once", shared_at_once },
	{ "map_shared_grows", shared_grows },
	{ "map_shared_moves", shared_moves },
	{ "map_shared_shrinks", shared_shrinks },
	{ "map_shared_grows_or_stays", shared_grows_or_stays },
	{ "map_shared_anonymous", shared_anonymous },
	{ "map_shared_by_name", shared_by_name },
	{ "map_in_memory_file", in_memory_file },
	{ 0 }
};
