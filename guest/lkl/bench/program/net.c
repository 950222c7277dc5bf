/* SPDX-License-Identifier: MPL-2.0 */
/*
 * TCP as iperf measures it. net serve PORT, and on the other side net WHAT HOST PORT SECONDS STREAMS. WHAT: up (to the server),
 * down (from it), echo (one byte there and back), connect (a connection, and one byte of the server's). The rate is in MB (10^6 bytes), round
 * trips or connections a second, of all streams together.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "measure.h"

#define PART (128 << 10)	/* bytes of one read or write of a stream */
#define MOST (1 << 20)		/* latencies that are kept of a stream */

static struct sockaddr_in address = { .sin_family = AF_INET };

static int tcp(void)
{
	int on = 1, fd = (int)check("socket", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

	check("nodelay", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
	check("reuse", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
	return fd;
}

/* ---- the server: the first byte of a connection says what it is for ---- */

static void *answer(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char what = 0, *part = calloc(1, PART);
	ssize_t n = part ? read(fd, &what, 1) : -1;

	while (n > 0 && what == 'u')
		n = read(fd, part, PART);
	while (n > 0 && what == 'd')
		n = send(fd, part, PART, MSG_NOSIGNAL);
	while (n > 0 && what == 'e')
		if ((n = read(fd, part, PART)) > 0)
			n = send(fd, part, (size_t)n, MSG_NOSIGNAL);
	if (what == 'c')
		send(fd, part, 1, MSG_NOSIGNAL);
	free(part);
	close(fd);
	return NULL;
}

static void serve(void)
{
	int fd = tcp();

	check("bind", bind(fd, (struct sockaddr *)&address, sizeof(address)));
	check("listen", listen(fd, 128));
	for (;;) {
		intptr_t c = check("accept", accept(fd, NULL, NULL));
		pthread_t thread;

		if (pthread_create(&thread, NULL, answer, (void *)c))
			die("thread");
		pthread_detach(thread);
	}
}

/* ---- the other side ---- */

static int64_t end;
static char what;

struct stream {
	pthread_t thread;
	double count;	/* bytes or turns */
	int64_t *took;
	size_t n;
};

static int call(void)
{
	int fd = tcp();

	check("connect", connect(fd, (struct sockaddr *)&address, sizeof(address)));
	check("write", write(fd, &what, 1));
	return fd;
}

static ssize_t turn(int *fd, char *part)
{
	switch (what) {
	case 'u':
		return write(*fd, part, PART);
	case 'd':
		return read(*fd, part, PART);
	case 'e':
		return write(*fd, part, 1) == 1 ? read(*fd, part, 1) : -1;
	default:
		*fd = call();
		if (read(*fd, part, 1) != 1)
			return -1;
		close(*fd);
		return 1;
	}
}

static void *load(void *arg)
{
	struct stream *s = arg;
	char *part = calloc(1, PART);
	int fd = what == 'c' ? -1 : call();
	int64_t from, to = now_ns();

	s->took = malloc(MOST * sizeof(int64_t));
	if (!part || !s->took)
		die("memory");
	do {
		ssize_t n = turn(&fd, part);

		if (n <= 0)
			die("stream");
		from = to;
		to = now_ns();
		if (s->n < MOST)
			s->took[s->n++] = to - from;
		s->count += (double)n;
	} while (to < end);
	return NULL;
}

int main(int argc, char **argv)
{
	struct stream streams[16] = { 0 };
	int n = argc == 6 ? atoi(argv[5]) : 0;
	double sum = 0;
	int64_t from;

	if (argc == 3 && !strcmp(argv[1], "serve")) {
		address.sin_port = htons((uint16_t)atoi(argv[2]));
		serve();
	}
	if (n < 1 || n > 16 || inet_pton(AF_INET, argv[2], &address.sin_addr) != 1) {
		fprintf(stderr, "usage: net serve PORT | net up|down|echo|connect HOST PORT SECONDS STREAMS\n");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	what = argv[1][0];
	address.sin_port = htons((uint16_t)atoi(argv[3]));
	from = now_ns();
	end = from + (int64_t)(atof(argv[4]) * 1e9);
	for (int i = 0; i < n; i++)
		if (pthread_create(&streams[i].thread, NULL, load, &streams[i]))
			die("thread");
	for (int i = 0; i < n; i++) {
		pthread_join(streams[i].thread, NULL);
		sum += streams[i].count;
	}
	from = now_ns() - from;
	if (what == 'u' || what == 'd')
		sum /= 1e6;
	result(sum, from, streams[0].took, streams[0].n);
	return 0;
}
