/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Measures TCP, as iperf does:
 *
 *	net serve PORT
 *	net MODE HOST PORT SECONDS STREAMS
 *
 * MODE is up (to the server), down (from it), echo (a byte back and forth) or
 * connect (a connection, and a byte from the server). The rate is the sum over all
 * streams, in MB (10^6 bytes), round trips or connections per second.
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

#define PART (128 << 10)		/* bytes of one read or write */
#define DURATIONS_MAX (1 << 20)		/* durations recorded for a stream */

static struct sockaddr_in address = { .sin_family = AF_INET };

static int open_socket(void)
{
	int on = 1, fd = (int)check("socket", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

	check("nodelay", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
	check("reuse", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
	return fd;
}

/* ---- the server: the first byte of a connection selects the mode ---- */

static void *serve_connection(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char mode = 0, *part = calloc(1, PART);
	ssize_t n = part ? read(fd, &mode, 1) : -1;

	while (n > 0 && mode == 'u')
		n = read(fd, part, PART);
	while (n > 0 && mode == 'd')
		n = send(fd, part, PART, MSG_NOSIGNAL);
	while (n > 0 && mode == 'e')
		if ((n = read(fd, part, PART)) > 0)
			n = send(fd, part, (size_t)n, MSG_NOSIGNAL);
	if (mode == 'c')
		send(fd, part, 1, MSG_NOSIGNAL);
	free(part);
	close(fd);
	return NULL;
}

static void serve(void)
{
	int fd = open_socket();

	check("bind", bind(fd, (struct sockaddr *)&address, sizeof(address)));
	check("listen", listen(fd, 128));
	for (;;) {
		intptr_t c = check("accept", accept(fd, NULL, NULL));
		pthread_t thread;

		if (pthread_create(&thread, NULL, serve_connection, (void *)c))
			die("thread");
		pthread_detach(thread);
	}
}

/* ---- the client ---- */

static int64_t end;
static char mode;

struct stream {
	pthread_t thread;
	double amount;		/* bytes or operations */
	int64_t *durations;	/* of single operations */
	size_t n_durations;
};

static int connect_stream(void)
{
	int fd = open_socket();

	check("connect", connect(fd, (struct sockaddr *)&address, sizeof(address)));
	check("write", write(fd, &mode, 1));
	return fd;
}

/* Runs one operation. Returns its number of bytes, or at most 0 on an error. */
static ssize_t run_operation(int *fd, char *part)
{
	switch (mode) {
	case 'u':
		return write(*fd, part, PART);
	case 'd':
		return read(*fd, part, PART);
	case 'e':
		return write(*fd, part, 1) == 1 ? read(*fd, part, 1) : -1;
	default:
		*fd = connect_stream();
		if (read(*fd, part, 1) != 1)
			return -1;
		close(*fd);
		return 1;
	}
}

static void *run_stream(void *arg)
{
	struct stream *s = arg;
	char *part = calloc(1, PART);
	int fd = mode == 'c' ? -1 : connect_stream();
	int64_t from, to = now_ns();

	s->durations = malloc(DURATIONS_MAX * sizeof(int64_t));
	if (!part || !s->durations)
		die("memory");
	do {
		ssize_t n = run_operation(&fd, part);

		if (n <= 0)
			die("stream");
		from = to;
		to = now_ns();
		if (s->n_durations < DURATIONS_MAX)
			s->durations[s->n_durations++] = to - from;
		s->amount += (double)n;
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
		fprintf(stderr, "usage: net serve PORT\n"
				"       net up|down|echo|connect HOST PORT SECONDS STREAMS\n");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	mode = argv[1][0];
	address.sin_port = htons((uint16_t)atoi(argv[3]));
	from = now_ns();
	end = from + (int64_t)(atof(argv[4]) * 1e9);
	for (int i = 0; i < n; i++)
		if (pthread_create(&streams[i].thread, NULL, run_stream, &streams[i]))
			die("thread");
	for (int i = 0; i < n; i++) {
		pthread_join(streams[i].thread, NULL);
		sum += streams[i].amount;
	}
	from = now_ns() - from;
	if (mode == 'u' || mode == 'd')
		sum /= 1e6;
	print_result(sum, from, streams[0].durations, streams[0].n_durations);
	return 0;
}
