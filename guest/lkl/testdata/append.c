/* SPDX-License-Identifier: MPL-2.0 */
/*
 * append N PATH: takes all memory, then N threads and the main thread append to the file
 * PATH. They wait for each other, and some of them for memory.
 */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static sem_t full;
static int file;

static void *append(void *unused)
{
	static const char block[1 << 16];

	sem_wait(&full);
	while (write(file, block, sizeof(block)) > 0)
		;
	return unused;
}

int main(int argc, char **argv)
{
	int n = atoi(argv[argc - 2]);
	pthread_t threads[n];
	char *p;

	file = open(argv[argc - 1], O_CREAT | O_WRONLY | O_APPEND, 0644);
	sem_init(&full, 0, 0);
	for (int i = 0; i < n; i++)
		pthread_create(&threads[i], NULL, append, NULL);
	for (size_t size = 1 << 16; size >= 1 << 12; size /= 2)
		while ((p = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED)
			memset(p, 1, size);
	for (int i = 0; i <= n; i++)
		sem_post(&full);
	append(NULL);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	puts("memory is left");
	return 0;
}
