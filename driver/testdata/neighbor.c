/* SPDX-License-Identifier: MPL-2.0 */
/*
 * neighbor NAME PORT [ADDRESS PORT]…: answers connections to a port with its name, and
 * prints the answer of each address, as often as that takes.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const char *name;

static socklen_t parse(struct sockaddr_storage *to, const char *ip, const char *port)
{
	struct sockaddr_in *four = (void *)to;
	struct sockaddr_in6 *six = (void *)to;

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, ip, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(atoi(port));
		return sizeof(*four);
	}
	inet_pton(AF_INET6, ip, &six->sin6_addr);
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(atoi(port));
	return sizeof(*six);
}

/* Returns the length of the answer, or -1. */
static ssize_t ask(const char *ip, const char *port, char *answer, size_t size)
{
	struct timeval limit = { .tv_sec = 1 };
	struct sockaddr_storage to;
	socklen_t length = parse(&to, ip, port);
	int fd = socket(to.ss_family, SOCK_STREAM, 0);
	ssize_t n = -1;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (!connect(fd, (void *)&to, length))
		n = read(fd, answer, size - 1);
	close(fd);
	return n;
}

static void *ask_all(void *words)
{
	for (char **w = words; w[0] && w[1]; w += 2) {
		char answer[64] = "";

		while (ask(w[0], w[1], answer, sizeof(answer)) <= 0)
			usleep(100000);
		printf("%s port %s: %s\n", w[0], w[1], answer);
		fflush(stdout);
	}
	return NULL;
}

static void print_interfaces(void)
{
	struct if_nameindex *all = if_nameindex();

	for (struct if_nameindex *i = all; i && i->if_index; i++)
		printf("interface %s\n", i->if_name);
}

int main(int argc, char **argv)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	int fd = socket(AF_INET6, SOCK_STREAM, 0), on = 1;
	pthread_t asker;

	if (argc < 3)
		return 2;
	name = argv[1];
	any.sin6_port = htons(atoi(argv[2]));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (void *)&any, sizeof(any)) || listen(fd, 16)) {
		perror("listen");
		return 1;
	}
	print_interfaces();
	for (char **e = (char *[]){ "NOMAD_UPSTREAM_ADDR_db", "NOMAD_UPSTREAM_IP_db", NULL }; *e; e++)
		if (getenv(*e))
			printf("%s=%s\n", *e, getenv(*e));
	printf("ready\n");
	fflush(stdout);
	pthread_create(&asker, NULL, ask_all, argv + 3);
	for (;;) {
		int conn = accept(fd, NULL, NULL);

		if (conn >= 0) {
			dprintf(conn, "%s", name);
			close(conn);
		}
	}
}
