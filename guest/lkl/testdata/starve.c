/* SPDX-License-Identifier: MPL-2.0 */
/*
 * starve PATH: takes all memory, then the kernel's: threads fill Unix sockets, and one
 * appends to a file.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void *fill_sockets(void *unused)
{
	static const char block[1 << 12];
	int fds[2];

	while (!socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds))
		while (send(fds[0], block, sizeof(block), 0) > 0)
			;
	return unused;
}

static void *append(void *path)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0644);

	while (write(fd, "written\n", 8) == 8 && !fsync(fd))
		;
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[9];
	char *p;

	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, fill_sockets, NULL);
	pthread_create(&threads[8], NULL, append, argv[argc - 1]);
	while ((p = malloc(1 << 16)))
		memset(p, 1, 1 << 16);
	for (int i = 0; i < 9; i++)
		pthread_join(threads[i], NULL);
	puts("memory is left");
	return 0;
}
