/* SPDX-License-Identifier: MPL-2.0 */
/*
 * maps THREADS OPERATIONS SEED DIRECTORY...: shared mappings of files under random
 * operations.
 *
 * Each thread has files in the directories, and of memfd_create. A model in memory says
 * what they contain. Mappings, read and write must agree with it at any time, while
 * pieces of private memory come and go, caches are dropped, and mappings replace one
 * another. A mapping may fail with ENOMEM.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES 24
#define MAX_SIZE (PAGES * PAGE)
#define MAX_FILES 8
#define MAPS 24
#define PIECES 24

/* The state of a thread. */
static __thread struct file {
	char path[100];
	int fd;
	size_t size;
	unsigned char *model;
} files[MAX_FILES];
static __thread int n_files;

static __thread struct map {
	struct file *file;	/* NULL if unused */
	unsigned char *at;
	size_t first, n;	/* pages of the file */
	bool writable, held;	/* held: inside of the reserved memory */
} maps[MAPS];

static __thread struct piece {
	unsigned char *at, fill;
	size_t n;
} pieces[PIECES];

/* Memory of the program for MAP_FIXED. */
static __thread unsigned char *reserved;
#define RESERVED (64UL * PAGE)

static __thread unsigned long seed, operations, refused;
static __thread unsigned char *buffer;

static int thread_count, arg_count;
static char **args;

static unsigned long below(unsigned long n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

static void fail(const char *what, const struct file *f, size_t at)
{
	printf("operation %lu: %s, %s at %zu of %zu: %s\n", operations, what, f ? f->path : "", at,
	       f ? f->size : 0, strerror(errno));
	exit(1);
}

static size_t min(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The bytes of a page of the file that are before its end. */
static size_t bytes_of(const struct file *f, size_t page)
{
	return f->size > page * PAGE ? min(f->size - page * PAGE, PAGE) : 0;
}

static void check_map(const struct map *m)
{
	for (size_t i = 0; i < m->n; i++) {
		size_t page = m->first + i, n = bytes_of(m->file, page);

		for (size_t j = 0; j < n; j++)
			if (m->at[i * PAGE + j] != m->file->model[page * PAGE + j])
				fail("a mapping differs", m->file, page * PAGE + j);
	}
}

static void check_file(const struct file *f)
{
	ssize_t n = pread(f->fd, buffer, MAX_SIZE, 0);

	if (n != (ssize_t)f->size)
		fail("the size differs", f, n);
	for (size_t i = 0; i < f->size; i++)
		if (buffer[i] != f->model[i])
			fail("the file differs", f, i);
}

static struct file *some_file(void)
{
	return &files[below(n_files)];
}

static struct map *some_map(void)
{
	struct map *m = &maps[below(MAPS)];

	return m->file ? m : NULL;
}

static void write_file(void)
{
	struct file *f = some_file();
	unsigned char text[3 * PAGE];
	size_t at = below(MAX_SIZE), n = min(1 + below(sizeof(text)), MAX_SIZE - at);

	memset(text, below(256), n);
	if (pwrite(f->fd, text, n, at) != (ssize_t)n)
		fail("write", f, at);
	memcpy(f->model + at, text, n);
	if (at + n > f->size)
		f->size = at + n;
}

static void resize(void)
{
	struct file *f = some_file();
	size_t size = below(3) ? below(MAX_SIZE + 1) : below(PAGES + 1) * PAGE;

	if (ftruncate(f->fd, size) == -1)
		fail("ftruncate", f, size);
	if (size < f->size)
		memset(f->model + size, 0, f->size - size);
	f->size = size;
}

static void punch(void)
{
	struct file *f = some_file();
	size_t at = below(MAX_SIZE), n = 1 + below(5 * PAGE);

	if (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, n) == -1)
		fail("fallocate", f, at);
	n = min(n, MAX_SIZE - at);
	memset(f->model + at, 0, n);
}

static void reserve(void)
{
	struct file *f = some_file();
	size_t at = below(MAX_SIZE), n = 1 + below(MAX_SIZE - at);

	if (fallocate(f->fd, FALLOC_FL_KEEP_SIZE, at, n) == -1)
		fail("fallocate", f, at);
}

/* Forgets the parts of mappings that lie in this range: it has been unmapped. */
static void forget(unsigned char *at, size_t n)
{
	for (struct map *m = maps; m < maps + MAPS; m++)
		if (m->file && m->held && m->at < at + n && at < m->at + m->n * PAGE)
			m->file = NULL;
}

/* Without MAP_FIXED two mappings may have the same address: each munmap ends one. */
static void unmap(void)
{
	struct map *m = some_map();

	if (!m)
		return;
	if (m->held) {
		if (mmap(m->at, m->n * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
			refused++;
			return;
		}
		forget(m->at, m->n * PAGE);
	} else if (m->n > 1 && below(2)) {
		size_t n = 1 + below(m->n - 1);

		if (munmap(m->at, n * PAGE) == -1)
			fail("munmap", m->file, m->first);
		m->at += n * PAGE;
		m->first += n;
		m->n -= n;
		return;
	} else if (munmap(m->at, m->n * PAGE) == -1) {
		fail("munmap", m->file, m->first);
	}
	m->file = NULL;
}

static void map(void)
{
	struct map *m = &maps[below(MAPS)];
	struct file *f = some_file();
	size_t first = below(PAGES), n = 1 + below(PAGES - first);
	bool held = !below(4), writable = below(3);
	void *place = held ? reserved + below(RESERVED / PAGE - PAGES) * PAGE : NULL;
	unsigned char *at;

	if (m->file)
		return;
	at = mmap(place, n * PAGE, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED | (held ? MAP_FIXED : 0),
		  f->fd, first * PAGE);
	if (at == MAP_FAILED) {
		if (errno != ENOMEM)
			fail("mmap", f, first);
		refused++;
		return;
	}
	if (held)
		forget(at, n * PAGE);
	*m = (struct map){ f, at, first, n, writable, held };
	check_map(m);
}

static void write_map(void)
{
	struct map *m = some_map();
	size_t at, n;

	if (!m || !m->writable || m->file->size <= m->first * PAGE)
		return;
	at = m->first * PAGE + below(m->n * PAGE);
	if (at >= m->file->size)
		return;
	n = min(1 + below(2 * PAGE), min(m->file->size, (m->first + m->n) * PAGE) - at);
	memset(m->file->model + at, below(256), n);
	memcpy(m->at + at - m->first * PAGE, m->file->model + at, n);
}

static void synchronize(void)
{
	struct map *m = some_map();

	if (below(2))
		fsync(some_file()->fd);
	else if (m && msync(m->at, m->n * PAGE, below(2) ? MS_SYNC : MS_ASYNC) == -1)
		fail("msync", m->file, m->first);
}

/* Has no effect on the content. */
static void lock(void)
{
	struct map *m = some_map();
	struct piece *p = &pieces[below(PIECES)];

	if (m && below(2))
		mlock(m->at + below(m->n) * PAGE, PAGE);
	else if (m)
		munlock(m->at, m->n * PAGE);
	if (p->at)
		mlock(p->at, p->n / 2);
}

/* Private memory in pieces, so that the memory of mappings lies among it. */
static void change_piece(void)
{
	struct piece *p = &pieces[below(PIECES)];

	if (p->at) {
		for (size_t i = 0; i < p->n; i++)
			if (p->at[i] != p->fill)
				fail("private memory differs", NULL, i);
		munmap(p->at, p->n);
		p->at = NULL;
		return;
	}
	p->n = (1 + below(200)) * PAGE;
	p->fill = below(256);
	p->at = mmap(NULL, p->n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->at == MAP_FAILED)
		p->at = NULL;
	else
		memset(p->at, p->fill, p->n);
}

/* Fills the page cache with another file, or drops it. */
static void press(void)
{
	static char block[64 * 1024];
	int fd;

	if (below(20))
		return;
	if (below(2)) {
		fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
		if (fd != -1 && write(fd, "3", 1) == -1)
			fail("drop_caches", NULL, 0);
	} else {
		fd = open("large", O_RDWR | O_CREAT, 0600);
		for (int i = 0; i < 200; i++)
			if (write(fd, block, sizeof(block)) == -1)
				break;
	}
	if (fd != -1)
		close(fd);
}

static void check_all(void)
{
	for (int i = 0; i < n_files; i++)
		check_file(&files[i]);
	for (int i = 0; i < MAPS; i++)
		if (maps[i].file)
			check_map(&maps[i]);
}

static void check_some(void)
{
	struct map *m = some_map();

	if (m)
		check_map(m);
	check_file(some_file());
}

static void (*const steps[])(void) = {
	write_file, write_file, resize, punch, reserve, map, map, map, unmap, unmap, write_map, write_map,
	write_map, synchronize, change_piece, change_piece, lock, press, check_some, check_some,
};

static void add_file(long thread, const char *directory)
{
	struct file *f = &files[n_files];

	if (directory)
		snprintf(f->path, sizeof(f->path), "%s/maps-%ld-%d", directory, thread, n_files);
	else
		strcpy(f->path, "memfd");
	f->fd = directory ? open(f->path, O_RDWR | O_CREAT | O_TRUNC, 0600) : memfd_create("maps", 0);
	f->model = calloc(1, MAX_SIZE);
	if (f->fd == -1 || !f->model)
		fail("open", f, 0);
	n_files++;
}

static void prepare(long thread)
{
	for (int i = 4; i < arg_count && n_files < MAX_FILES - 3; i++) {
		add_file(thread, args[i]);
		add_file(thread, args[i]);
	}
	add_file(thread, NULL);
	buffer = malloc(MAX_SIZE);
	reserved = mmap(NULL, RESERVED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!buffer || reserved == MAP_FAILED)
		fail("mmap", NULL, 0);
}

static void *run(void *thread)
{
	unsigned long last = strtoul(args[2], NULL, 10);

	seed = 88172645463325252UL + strtoul(args[3], NULL, 10) + (long)thread;
	prepare((long)thread);
	for (; operations < last; operations++) {
		steps[below(sizeof(steps) / sizeof(steps[0]))]();
		if (operations % 256 == 0)
			check_all();
	}
	check_all();
	printf("%lu operations, %lu refused\n", operations, refused);
	for (int i = 0; i < n_files; i++)
		unlink(files[i].path);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[16];

	arg_count = argc;
	args = argv;
	thread_count = argc > 4 ? atoi(argv[1]) : 0;
	if (thread_count < 1 || thread_count > 16 || chdir(argv[4]) == -1)
		return fprintf(stderr, "usage: maps THREADS OPERATIONS SEED DIRECTORY...\n"), 2;
	for (long i = 0; i < thread_count; i++)
		if (pthread_create(&threads[i], NULL, run, (void *)i))
			return fprintf(stderr, "cannot create a thread\n"), 2;
	for (int i = 0; i < thread_count; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
