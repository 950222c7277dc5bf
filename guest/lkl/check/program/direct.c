/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Input and output without a copy, which needs the memory behind an address:
 * O_DIRECT and vmsplice. Also /proc/self/maps and /proc/self/mem.
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define PAGE 4096

static const char constant[PAGE] __attribute__((aligned(PAGE))) = "constant";
static char data[PAGE] __attribute__((aligned(PAGE))) = "data";
static char zero[PAGE] __attribute__((aligned(PAGE)));

/* Returns a page of this program's code. */
static char *code_page(void)
{
	return (char *)((uintptr_t)code_page & -PAGE);
}

static char *map_pages(size_t size)
{
	return MAP(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static char *unmapped_pages(size_t size)
{
	char *p = map_pages(size);

	memset(p, 'x', size);
	OK(munmap(p, size));
	return p;
}

/*
 * Creates a file of pages, each filled with a letter. Without O_DIRECT on this
 * file system, such as tmpfs, the cases use cached input and output instead.
 */
static int create_direct_file(int pages)
{
	int fd = open("file", O_RDWR | O_CREAT | O_DIRECT, 0666);
	char *p = map_pages(PAGE);

	if (fd < 0 && errno == EINVAL)
		fd = open("file", O_RDWR | O_CREAT, 0666);
	OK(fd);
	for (int i = 0; i < pages; i++) {
		memset(p, 'a' + i, PAGE);
		GIVES(pwrite(fd, p, PAGE, i * PAGE), PAGE);
	}
	OK(munmap(p, PAGE));
	return fd;
}

/* Reads a page into memory at p, and writes it from there. */
static void check_read_and_write(int fd, char *p)
{
	GIVES(pread(fd, p, PAGE, PAGE), PAGE);
	TRUE(all_bytes(p, 'b', PAGE));
	memset(p, 'z', PAGE);
	GIVES(pwrite(fd, p, PAGE, 0), PAGE);
	memset(p, 0, PAGE);
	GIVES(pread(fd, p, PAGE, 0), PAGE);
	TRUE(all_bytes(p, 'z', PAGE));
}

static void any_memory(void)
{
	int fd = create_direct_file(2), other = OK(open("other", O_RDWR | O_CREAT, 0666));
	char stack[2 * PAGE], *on_stack = (char *)(((uintptr_t)stack + PAGE - 1) & -PAGE), *p;
	void *allocated = NULL;

	check_read_and_write(fd, data);
	check_read_and_write(fd, zero);
	check_read_and_write(fd, on_stack);
	ZERO(posix_memalign(&allocated, PAGE, PAGE));
	check_read_and_write(fd, allocated);
	free(allocated);
	OK(ftruncate(other, PAGE));
	p = MAP(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, other, 0));
	check_read_and_write(fd, p);
	OK(munmap(p, PAGE));
	p = MAP(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0));
	check_read_and_write(fd, p);
	OK(munmap(p, PAGE));
	TRUE(get_file("other")[0] == 'z');
}

/* A mapping works after parts of it were unmapped, moved and mapped again. */
static void mapped_in_parts(void)
{
	int fd = create_direct_file(8);
	char *p = map_pages(8 * PAGE);

	OK(munmap(p + 2 * PAGE, PAGE));
	OK(munmap(p + 5 * PAGE, 2 * PAGE));
	GIVES(pread(fd, p, 2 * PAGE, 0), 2 * PAGE);
	GIVES(pread(fd, p + 3 * PAGE, 2 * PAGE, 3 * PAGE), 2 * PAGE);
	GIVES(pread(fd, p + 7 * PAGE, PAGE, 7 * PAGE), PAGE);
	FAILS(pread(fd, p + 2 * PAGE, PAGE, 0), EFAULT);
	FAILS(pread(fd, p + 5 * PAGE, PAGE, 0), EFAULT);
	FAILS(pread(fd, p + 6 * PAGE, PAGE, 0), EFAULT);
	MAP(mmap(p + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	MAP(mmap(p + 4 * PAGE, 3 * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	GIVES(pread(fd, p, 8 * PAGE, 0), 8 * PAGE);
	for (int i = 0; i < 8; i++)
		TRUE(all_bytes(p + i * PAGE, 'a' + i, PAGE));
	TRUE(mremap(p, 8 * PAGE, 3 * PAGE, 0) == p);
	FAILS(pread(fd, p + 3 * PAGE, PAGE, 0), EFAULT);
	GIVES(pread(fd, p, 3 * PAGE, 4 * PAGE), 3 * PAGE);
	p = MAP(mremap(p, 3 * PAGE, 64 * PAGE, MREMAP_MAYMOVE));
	GIVES(pread(fd, p + 60 * PAGE, 4 * PAGE, 0), 4 * PAGE);
	TRUE(all_bytes(p, 'e', PAGE) && all_bytes(p + 63 * PAGE, 'd', PAGE));
	OK(munmap(p, 64 * PAGE));
	FAILS(pread(fd, p + 60 * PAGE, PAGE, 0), EFAULT);
}

static void constants(void)
{
	int fd = create_direct_file(1);
	char *p = map_pages(PAGE);

	FAILS(pread(fd, (char *)constant, PAGE, 0), EFAULT);
	FAILS(pread(fd, code_page(), PAGE, 0), EFAULT);
	TEXT(constant, "constant");
	GIVES(pwrite(fd, constant, PAGE, 0), PAGE);
	GIVES(pread(fd, p, PAGE, 0), PAGE);
	TRUE(memcmp(p, constant, PAGE) == 0);
	GIVES(pwrite(fd, code_page(), PAGE, 0), PAGE);
	GIVES(pread(fd, p, PAGE, 0), PAGE);
	TRUE(memcmp(p, code_page(), PAGE) == 0);
	OK(munmap(p, PAGE));
}

static void nothing_there(void)
{
	/* As in faults.c, but page-aligned, as O_DIRECT requires. */
	static char *const wrong[] = {
		NULL, (char *)PAGE, (char *)0x7ffffffff000, (char *)0x8000000000000000,
		(char *)0xffffffff80000000, (char *)0xfffffffffffff000,
	};
	int fd = create_direct_file(1);

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		FAILS(syscall(SYS_pread64, fd, wrong[i], PAGE, 0), EFAULT);
		FAILS(syscall(SYS_pwrite64, fd, wrong[i], PAGE, 0), EFAULT);
	}
	for (int pages = 1; pages <= 1024; pages *= 4) {
		char *p = unmapped_pages(pages * PAGE);

		FAILS(syscall(SYS_pread64, fd, p, PAGE, 0), EFAULT);
		FAILS(syscall(SYS_pwrite64, fd, p + (pages - 1) * PAGE, PAGE, 0), EFAULT);
	}
	TRUE(get_file("file")[PAGE / 8] == 'a');
}

static void spliced(void)
{
	char text[PAGE], *gone = unmapped_pages(PAGE);
	struct iovec v = { gone, PAGE };
	int fd[2];

	OK(pipe(fd));
	FAILS(vmsplice(fd[1], &v, 1, 0), EFAULT);
	v = (struct iovec){ (char *)(8 * PAGE), PAGE };
	FAILS(vmsplice(fd[1], &v, 1, 0), EFAULT);
	v = (struct iovec){ (char *)constant, PAGE };
	GIVES(vmsplice(fd[1], &v, 1, 0), PAGE);
	GIVES(read(fd[0], text, PAGE), PAGE);
	TEXT(text, "constant");
	strcpy(data, "data");
	v = (struct iovec){ data, 5 };
	GIVES(vmsplice(fd[1], &v, 1, 0), 5);
	GIVES(read(fd[0], text, PAGE), 5);
	TEXT(text, "data");
}

/*
 * Returns the protections of an address in /proc/self/maps, or "" if it is not
 * mapped. Allocates nothing, which could change the mappings.
 */
static const char *protections_of(const void *at)
{
	static char text[1 << 16], flags[8];
	int fd = OK(open("/proc/self/maps", O_RDONLY));
	unsigned long start, end;
	size_t size = 0;
	ssize_t n;

	while ((n = OK(read(fd, text + size, sizeof(text) - 1 - size))) > 0)
		size += n;
	OK(close(fd));
	text[size] = 0;
	for (char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (sscanf(line, "%lx-%lx %4s", &start, &end, flags) == 3 &&
		    start <= (uintptr_t)at && (uintptr_t)at < end)
			return flags;
	}
	return "";
}

static void maps(void)
{
	char *p = map_pages(3 * PAGE), stack;

	TEXT(protections_of(code_page()), "r-xp");
	TEXT(protections_of(constant), "r--p");
	TEXT(protections_of(data), "rw-p");
	TEXT(protections_of(zero), "rw-p");
	TEXT(protections_of(&stack), "rw-p");
	TEXT(protections_of(p), "rw-p");
	OK(munmap(p + PAGE, PAGE));
	TEXT(protections_of(p), "rw-p");
	TEXT(protections_of(p + PAGE), "");
	TEXT(protections_of(p + 2 * PAGE + PAGE - 1), "rw-p");
	OK(munmap(p, 3 * PAGE));
	TEXT(protections_of(p), "");
	TEXT(protections_of(p + 2 * PAGE), "");
	TEXT(protections_of(NULL), "");
}

static void through_proc(void)
{
	int fd = OK(open("/proc/self/mem", O_RDWR));
	char *p = map_pages(PAGE), text[16];

	strcpy(p, "mapped");
	GIVES(pread(fd, text, 16, (uintptr_t)p), 16);
	TEXT(text, "mapped");
	GIVES(pwrite(fd, "written", 8, (uintptr_t)p), 8);
	TEXT(p, "written");
	GIVES(pread(fd, text, 16, (uintptr_t)constant), 16);
	TEXT(text, "constant");
	OK(munmap(p, PAGE));
	FAILS(pread(fd, text, 16, (uintptr_t)p), EIO);
	FAILS(pwrite(fd, text, 16, (uintptr_t)p), EIO);
	FAILS(pread(fd, text, 16, 0), EIO);
	TRUE(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED);
	IS(errno, ENODEV);
}

static volatile bool over;

static void *map_and_unmap(void *unused)
{
	(void)unused;
	while (!over) {
		char *p = map_pages(5 * PAGE);

		memset(p, 'x', 5 * PAGE);
		OK(munmap(p + PAGE, PAGE));
		OK(munmap(p, 5 * PAGE));
		sched_yield();
	}
	return NULL;
}

/* Other threads map and unmap while one reads a file into its own mappings. */
static void at_once(void)
{
	int fd = create_direct_file(2);
	pthread_t threads[4];

	over = false;
	for (int i = 0; i < 4; i++)
		threads[i] = start_thread(map_and_unmap, NULL);
	for (int i = 0; i < 300; i++) {
		char *p = map_pages(2 * PAGE);

		GIVES(pread(fd, p, 2 * PAGE, 0), 2 * PAGE);
		TRUE(all_bytes(p, 'a', PAGE) && all_bytes(p + PAGE, 'b', PAGE));
		TEXT(protections_of(p + PAGE), "rw-p");
		OK(munmap(p, 2 * PAGE));
	}
	over = true;
	for (int i = 0; i < 4; i++)
		join_thread(threads[i]);
}

const struct check direct_checks[] = {
	{ "direct_any_memory", any_memory },
	{ "direct_mapped_in_parts", mapped_in_parts },
	{ "direct_constants", constants },
	{ "direct_nothing_there", nothing_there },
	{ "direct_spliced", spliced },
	{ "direct_at_once", at_once },
	{ "proc_maps", maps },
	{ "proc_mem", through_proc },
	{ 0 }
};
