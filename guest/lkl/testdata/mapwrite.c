/* SPDX-License-Identifier: MPL-2.0 */
/* A thread writes to a file while others map and unmap a page of it, and use the kernel's memory. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <unistd.h>

#define SIZE (8 << 20)
#define ROUNDS 300

static char content[SIZE];
static volatile bool done;

static void *write_file(void *fd)
{
	while (!done)
		if (pwrite(*(int *)fd, content, SIZE, 0) != SIZE)
			perror("pwrite");
	return NULL;
}

int main(int argc, char **argv)
{
	struct { long type; char text[200]; } message = { .type = 1 };
	int fd = open(argc > 1 ? argv[1] : "", O_RDWR | O_CREAT, 0600);
	int queue = msgget(IPC_PRIVATE, 0600);
	pthread_t writer;

	memset(message.text, 0x41, sizeof(message.text));
	pthread_create(&writer, NULL, write_file, &fd);
	for (int i = 0; i < ROUNDS; i++) {
		char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

		usleep(1000);
		if (p == MAP_FAILED || munmap(p, 4096))
			perror("mmap");
		for (int n = 0; n < 16; n++)
			msgsnd(queue, &message, sizeof(message.text), IPC_NOWAIT);
		usleep(1000);
		for (int n = 0; n < 16; n++)
			msgrcv(queue, &message, sizeof(message.text), 0, IPC_NOWAIT);
	}
	done = true;
	pthread_join(writer, NULL);
	puts("end");
	return 0;
}
