/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Uses memory and files at the same time, and checks the contents of both:
 *
 *	churn SEED SECONDS MIB
 *
 * MIB is the guest's memory. Each page of a mapping contains the page's place in
 * the mapping and the mapping's mark; each block of a file contains its place in
 * the file and the file's mark. Prints the number of operations at the end.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define MAPPINGS 64
#define FILES 96
#define MUST(condition)                                                              \
	do {                                                                         \
		if (!(condition)) {                                                  \
			printf("line %d: %s: %m\n", __LINE__, #condition);           \
			fflush(stdout);                                              \
			_exit(1);                                                    \
		}                                                                    \
	} while (0)

struct mapping {
	uint64_t *start;
	size_t blocks;
	uint64_t mark;
};

struct file {
	size_t blocks;
	uint64_t mark;
};

static struct mapping mappings[MAPPINGS];
static struct file files[FILES];
static size_t mapped_blocks, mapped_most, mapping_most;
static long operations, refusals, file_operations, messages;
static volatile bool stopping;

static uint64_t random_number(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

static void fill(uint64_t *at, uint64_t mark, size_t first, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < BLOCK / 8; j += 64)
			at[i * BLOCK / 8 + j] = mark ^ ((first + i) << 16) ^ j;
}

static bool is_filled(const uint64_t *at, uint64_t mark, size_t first, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < BLOCK / 8; j += 64)
			if (at[i * BLOCK / 8 + j] != (mark ^ ((first + i) << 16) ^ j))
				return false;
	return true;
}

static bool is_zero(const uint64_t *at, size_t n)
{
	for (size_t i = 0; i < n * BLOCK / 8; i++)
		if (at[i])
			return false;
	return true;
}

static void add_mapping(struct mapping *m, uint64_t *seed)
{
	size_t largest = random_number(seed) % 8 ? mapping_most / 16 : mapping_most;

	m->blocks = 1 + random_number(seed) % largest;
	if (mapped_blocks + m->blocks > mapped_most)
		return;
	m->start = mmap(NULL, m->blocks * BLOCK, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->start == MAP_FAILED) {
		m->start = NULL;
		refusals++;
		return;
	}
	MUST(is_zero(m->start, m->blocks));
	m->mark = random_number(seed);
	fill(m->start, m->mark, 0, m->blocks);
	mapped_blocks += m->blocks;
}

static void resize_mapping(struct mapping *m, uint64_t *seed)
{
	size_t blocks = 1 + random_number(seed) % (2 * m->blocks);
	uint64_t *moved;

	if (blocks > mapping_most || mapped_blocks - m->blocks + blocks > mapped_most)
		return;
	moved = mremap(m->start, m->blocks * BLOCK, blocks * BLOCK, MREMAP_MAYMOVE);
	if (moved == MAP_FAILED) {
		refusals++;
		return;
	}
	m->start = moved;
	if (blocks > m->blocks) {
		MUST(is_zero(m->start + m->blocks * BLOCK / 8, blocks - m->blocks));
		fill(m->start + m->blocks * BLOCK / 8, m->mark, m->blocks, blocks - m->blocks);
	}
	mapped_blocks += blocks - m->blocks;
	m->blocks = blocks;
}

static void change_memory(uint64_t *seed)
{
	struct mapping *m = &mappings[random_number(seed) % MAPPINGS];

	operations++;
	if (!m->start) {
		add_mapping(m, seed);
		return;
	}
	MUST(is_filled(m->start, m->mark, 0, m->blocks));
	switch (random_number(seed) % 4) {
	case 0:
		resize_mapping(m, seed);
		break;
	case 1:
		MUST(madvise(m->start, m->blocks * BLOCK, MADV_DONTNEED) == 0);
		MUST(is_zero(m->start, m->blocks));
		fill(m->start, m->mark, 0, m->blocks);
		break;
	default:
		MUST(munmap(m->start, m->blocks * BLOCK) == 0);
		mapped_blocks -= m->blocks;
		m->start = NULL;
	}
}

static void write_file(const char *name, struct file *f, uint64_t *seed)
{
	static uint64_t block[BLOCK / 8];
	int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600);

	MUST(fd >= 0);
	f->mark = random_number(seed);
	f->blocks = random_number(seed) % 8 ? random_number(seed) % 4 : random_number(seed) % 512;
	for (size_t i = 0; i < f->blocks; i++) {
		fill(block, f->mark, i, 1);
		MUST(write(fd, block, BLOCK) == BLOCK);
	}
	if (random_number(seed) % 16 == 0)
		MUST(fsync(fd) == 0);
	MUST(close(fd) == 0);
}

static void check_file(const char *name, const struct file *f)
{
	static uint64_t block[BLOCK / 8];
	int fd = open(name, O_RDONLY);

	MUST(fd >= 0);
	for (size_t i = 0; i < f->blocks; i++)
		MUST(read(fd, block, BLOCK) == BLOCK && is_filled(block, f->mark, i, 1));
	MUST(read(fd, block, BLOCK) == 0);
	MUST(close(fd) == 0);
}

/* Also makes files that stay as they are, so that inodes fill the memory. */
static void *use_files(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	char name[32];

	for (; !stopping; file_operations++) {
		size_t i = random_number(&seed) % FILES;

		snprintf(name, sizeof(name), "/churn/%zu", i);
		if (!files[i].mark) {
			write_file(name, &files[i], &seed);
			continue;
		}
		check_file(name, &files[i]);
		if (random_number(&seed) % 3 == 0) {
			MUST(unlink(name) == 0);
			files[i].mark = 0;
		}
		snprintf(name, sizeof(name), "/churn/keep%ld", file_operations % 20000);
		close(open(name, O_CREAT | O_WRONLY, 0600));
	}
	return NULL;
}

static void *use_sockets(void *arg)
{
	static char out[9000], in[9000];
	int fd[2];

	(void)arg;
	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd) == 0);
	for (; !stopping; messages++) {
		memset(out, (int)messages, sizeof(out));
		MUST(write(fd[0], out, sizeof(out)) == sizeof(out));
		MUST(read(fd[1], in, sizeof(in)) == sizeof(in));
		MUST(!memcmp(in, out, sizeof(in)));
		usleep(200);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[2];
	time_t end;
	uint64_t seed;

	MUST(argc == 4);
	seed = strtoull(argv[1], NULL, 0) * 2654435761u + 1;
	end = time(NULL) + atol(argv[2]);
	mapped_most = strtoul(argv[3], NULL, 0) * 256 * 6 / 10;
	mapping_most = mapped_most / 4;
	MUST(mkdir("/churn", 0700) == 0);
	MUST(!pthread_create(&threads[0], NULL, use_files, (void *)(uintptr_t)(seed | 1)));
	MUST(!pthread_create(&threads[1], NULL, use_sockets, NULL));
	while (time(NULL) < end)
		change_memory(&seed);
	stopping = true;
	for (int i = 0; i < 2; i++)
		MUST(!pthread_join(threads[i], NULL));
	printf("operations %ld refusals %ld files %ld messages %ld\n", operations, refusals,
	       file_operations, messages);
	return 0;
}
