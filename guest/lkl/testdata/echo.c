/* SPDX-License-Identifier: MPL-2.0 */
/* An echo server on port 7, TCP and UDP, IPv4 and IPv6. */
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_SIZE (256 << 10)

static int open_port(int type)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(7) };
	int fd = socket(AF_INET6, type, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) ||
	    (type == SOCK_STREAM && listen(fd, 64))) {
		perror("echo");
		exit(1);
	}
	return fd;
}

static void *echo_stream(void *arg)
{
	int fd = (int)(long)arg;
	char *data = malloc(BUFFER_SIZE);
	ssize_t n;

	while (data && (n = read(fd, data, BUFFER_SIZE)) > 0)
		for (char *p = data; n > 0;) {
			ssize_t sent = write(fd, p, n);

			if (sent <= 0)
				break;
			p += sent;
			n -= sent;
		}
	free(data);
	close(fd);
	return NULL;
}

static void *echo_datagrams(void *unused)
{
	static char data[1 << 16];
	int fd = open_port(SOCK_DGRAM);

	for (;;) {
		struct sockaddr_in6 from;
		socklen_t size = sizeof(from);
		ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &size);

		if (n >= 0)
			sendto(fd, data, n, 0, (struct sockaddr *)&from, size);
	}
	return unused;
}

int main(void)
{
	int fd = open_port(SOCK_STREAM);
	pthread_t thread;

	pthread_create(&thread, NULL, echo_datagrams, NULL);
	printf("listening\n");
	fflush(stdout);
	for (;;) {
		long connection = accept(fd, NULL, NULL);

		if (connection < 0)
			continue;
		if (pthread_create(&thread, NULL, echo_stream, (void *)connection))
			close(connection);
		else
			pthread_detach(thread);
	}
}
