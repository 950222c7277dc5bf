/* SPDX-License-Identifier: MPL-2.0 */
/* Memory: malloc. */
#define _GNU_SOURCE
#include "check.h"

#include <malloc.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#define PAGE 4096

static void allocates(void)
{
	static void *at[1000];
	char *p;

	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 1000; i++) {
			at[i] = SOME(malloc((size_t)(i * 37) % 5000 + 1));
			memset(at[i], i & 255, (size_t)(i * 37) % 5000 + 1);
		}
		for (int i = 0; i < 1000; i++) {
			TRUE(all_bytes(at[i], i & 255, (size_t)(i * 37) % 5000 + 1));
			free(at[i]);
		}
	}
	p = SOME(calloc(1000, 1000));
	TRUE(all_bytes(p, 0, 1000000));
	p = SOME(realloc(p, 3000000));
	TRUE(all_bytes(p, 0, 1000000));
	p = SOME(realloc(p, 10));
	free(p);
	free(NULL);
}

static void too_much(void)
{
	volatile size_t huge = (size_t)1 << 62;

	TRUE(malloc(huge) == NULL);
	IS(errno, ENOMEM);
	TRUE(calloc(huge, 8) == NULL);
	IS(errno, ENOMEM);
	TRUE(mmap(NULL, huge, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	IS(errno, ENOMEM);
}

/* One allocation of more than half of the free memory. */
static void most_of_it(void)
{
	struct sysinfo info;
	size_t most;
	char *p;

	OK(sysinfo(&info));
	most = info.freeram * info.mem_unit / 10 * 6 & -PAGE;
	p = MAP(mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	p[0] = p[most - 1] = 1;
	OK(munmap(p, most));
}

static void aligned(void)
{
	void *p = NULL;

	for (size_t a = sizeof(void *); a <= 1 << 20; a *= 2) {
		ZERO(posix_memalign(&p, a, 100));
		IS((uintptr_t)p % a, 0);
		memset(p, 1, 100);
		free(p);
	}
	ERROR(posix_memalign(&p, 3, 100), EINVAL);
	p = SOME(aligned_alloc(64, 640));
	IS((uintptr_t)p % 64, 0);
	TRUE(malloc_usable_size(p) >= 640);
	free(p);
}

static void *churn(void *arg)
{
	char *at[50] = { 0 };
	unsigned seed = (unsigned)(long)arg;
	long wrong = 0;

	for (int i = 0; i < 3000; i++) {
		int k = rand_r(&seed) % 50, size = rand_r(&seed) % 20000 + 1;

		if (at[k]) {
			wrong += at[k][0] != (char)k;
			free(at[k]);
			at[k] = NULL;
		} else {
			at[k] = malloc(size);
			wrong += !at[k];
			at[k][0] = at[k][size - 1] = (char)k;
		}
	}
	for (int k = 0; k < 50; k++)
		free(at[k]);
	return (void *)wrong;
}

static void in_threads(void)
{
	pthread_t threads[8];

	for (long i = 0; i < 8; i++)
		threads[i] = start_thread(churn, (void *)(i + 1));
	for (int i = 0; i < 8; i++)
		IS((long)join_thread(threads[i]), 0);
}

/*
 * Freed memory is reusable: allocates a quarter of the smallest guest's memory
 * a hundred times.
 */
static void given_back(void)
{
	for (int i = 0; i < 100; i++) {
		char *p = SOME(malloc(16 << 20));

		memset(p, i, 16 << 20);
		free(p);
	}
}

const struct check memory_checks[] = {
	{ "memory_allocates", allocates },
	{ "memory_too_much", too_much },
	{ "memory_most_of_it", most_of_it },
	{ "memory_aligned", aligned },
	{ "memory_in_threads", in_threads },
	{ "memory_given_back", given_back },
	{ 0 }
};
