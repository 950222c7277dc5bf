/* SPDX-License-Identifier: MPL-2.0 */
/*
 * mappunch DIRECTORY: stores to a shared mapping of a file while another thread punches a
 * hole into the file. What fsync() has confirmed must be on the disk. More threads keep the
 * journal busy, so that the punching thread sleeps in the middle.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES 64
#define ROUNDS 1000

static sem_t begin, end;
static int file;
static unsigned char *map;

static void *punch(void *unused)
{
	for (;;) {
		sem_wait(&begin);
		if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGES * PAGE))
			perror("fallocate");
		sem_post(&end);
	}
	return unused;
}

static void *sync_other_file(void *name)
{
	int fd = open(name, O_CREAT | O_RDWR, 0600);

	while (pwrite(fd, name, 1, 0) == 1 && !fsync(fd) && !ftruncate(fd, 0))
		;
	perror(name);
	return NULL;
}

static void check(unsigned int round, unsigned int *stored, const unsigned int *buffer, int disk)
{
	if (pread(disk, (void *)buffer, PAGE, (unsigned char *)stored - map) != PAGE)
		perror("pread");
	if (*stored == *buffer)
		return;
	printf("round %u: %u in memory, %u on the disk\n", round, *stored, *buffer);
	exit(1);
}

int main(int argc, char **argv)
{
	pthread_t threads[3];
	unsigned int *page;
	void *buffer;
	int disk;

	if (argc != 2 || chdir(argv[1]))
		return 2;
	file = open("file", O_CREAT | O_RDWR, 0600);
	disk = open("file", O_RDONLY | O_DIRECT);
	if (ftruncate(file, PAGES * PAGE) || posix_memalign(&buffer, PAGE, PAGE))
		return 2;
	map = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	sem_init(&begin, 0, 0);
	sem_init(&end, 0, 0);
	pthread_create(&threads[0], NULL, punch, NULL);
	pthread_create(&threads[1], NULL, sync_other_file, "first");
	pthread_create(&threads[2], NULL, sync_other_file, "second");
	for (unsigned int round = 1; round <= ROUNDS; round++) {
		page = (unsigned int *)(map + round % PAGES * PAGE);
		sem_post(&begin);
		for (unsigned int i = 0; i <= round % 4; i++)
			sched_yield();
		*page = round;
		if (fsync(file))
			perror("fsync");
		sem_wait(&end);
		check(round, page, buffer, disk);
	}
	puts("end");
	return 0;
}
