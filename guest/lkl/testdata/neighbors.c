/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Exchanges data with neighbors and with itself. The arguments are words of three
 * parts, KIND,ADDRESS,PORT; see main().
 */
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define STREAM_SIZE (1 << 20)

static struct addrinfo *resolve(const char *address, const char *port, int type)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = type }, *a;

	if (getaddrinfo(address, port, &hints, &a)) {
		printf("not an address: %s %s\n", address, port);
		exit(1);
	}
	return a;
}

/* Returns the text of an address without its port. */
static const char *address_text(const struct sockaddr_storage *a, char text[64])
{
	getnameinfo((const struct sockaddr *)a, sizeof(*a), text, 64, NULL, 0, NI_NUMERICHOST);
	return text;
}

/* A line of output. Each thread collects one of its own. */
static _Thread_local char line[256];

static void add(const char *format, ...)
{
	size_t n = strlen(line);
	va_list args;

	va_start(args, format);
	vsnprintf(line + n, sizeof(line) - n, format, args);
	va_end(args);
}

static void print_line(void)
{
	puts(line);
	line[0] = 0;
}

static void add_ends(int fd)
{
	struct sockaddr_storage own = { 0 }, peer = { 0 };
	socklen_t len = sizeof(own);
	char text[64];

	getsockname(fd, (struct sockaddr *)&own, &len);
	add(" from %s", address_text(&own, text));
	len = sizeof(peer);
	getpeername(fd, (struct sockaddr *)&peer, &len);
	add(" to %s", address_text(&peer, text));
}

static void *send_stream(void *arg)
{
	static char data[1 << 16];
	long fd = (long)arg;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = i * 7;
	for (int i = 0; i < STREAM_SIZE / (1 << 16); i++)
		if (write(fd, data, sizeof(data)) != sizeof(data))
			break;
	shutdown(fd, SHUT_WR);
	return NULL;
}

/* Sends data to an echo server and counts the bytes that come back unchanged. */
static void exchange_stream(long fd)
{
	static unsigned char data[1 << 16];
	size_t good = 0, at = 0;
	pthread_t thread;
	ssize_t n;

	pthread_create(&thread, NULL, send_stream, (void *)fd);
	while ((n = read(fd, data, sizeof(data))) > 0)
		for (ssize_t i = 0; i < n; i++)
			good += data[i] == (unsigned char)(at++ % (1 << 16) * 7);
	pthread_join(thread, NULL);
	add(": %s", n < 0 ? strerror(errno) : good == STREAM_SIZE ? "all data" : "wrong data");
}

static void act_tcp(const struct addrinfo *a)
{
	int fd = socket(a->ai_family, SOCK_STREAM, 0);

	if (connect(fd, a->ai_addr, a->ai_addrlen)) {
		add(": %s", strerror(errno));
	} else {
		add_ends(fd);
		exchange_stream(fd);
	}
	close(fd);
}

/* Sends datagrams from a socket that is not connected, and prints who answers. */
static void act_udp(const struct addrinfo *a)
{
	static char sent[60000], back[sizeof(sent)];
	const size_t sizes[] = { 1, 1000, 9000, sizeof(sent) };
	struct timeval limit = { .tv_sec = 20 };
	int fd = socket(a->ai_family, SOCK_DGRAM, 0);
	struct sockaddr_storage from = { 0 };
	char text[64];

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		socklen_t len = sizeof(from);

		memset(sent, 'a' + i, sizes[i]);
		if (sendto(fd, sent, sizes[i], 0, a->ai_addr, a->ai_addrlen) < 0 ||
		    recvfrom(fd, back, sizeof(back), 0, (struct sockaddr *)&from, &len) !=
			    (ssize_t)sizes[i] || memcmp(sent, back, sizes[i])) {
			add(": %zu bytes: %s", sizes[i], strerror(errno));
			close(fd);
			return;
		}
	}
	add(": answer from %s", address_text(&from, text));
	close(fd);
}

/* Sends a datagram to a port that nobody uses. The kernel reports it on the socket. */
static void act_udp_error(const struct addrinfo *a)
{
	int fd = socket(a->ai_family, SOCK_DGRAM, 0);
	char byte;

	if (connect(fd, a->ai_addr, a->ai_addrlen) || send(fd, "x", 1, 0) < 0 ||
	    recv(fd, &byte, 1, 0) < 0)
		add(": %s", strerror(errno));
	close(fd);
}

static void *echo(void *arg)
{
	char data[1 << 14];
	long fd = (long)arg;
	ssize_t n;

	while ((n = read(fd, data, sizeof(data))) > 0)
		if (write(fd, data, n) != n)
			break;
	close(fd);
	return NULL;
}

static void *accept_streams(void *arg)
{
	long fd;
	pthread_t thread;

	while ((fd = accept((long)arg, NULL, NULL)) >= 0) {
		add("accepted");
		add_ends(fd);
		print_line();
		pthread_create(&thread, NULL, echo, (void *)fd);
		pthread_detach(thread);
	}
	return NULL;
}

static void *answer_datagrams(void *arg)
{
	static char data[1 << 16];
	struct sockaddr_storage from;
	char text[64];

	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom((long)arg, data, sizeof(data), 0, (struct sockaddr *)&from, &len);

		add("datagram from %s", address_text(&from, text));
		print_line();
		sendto((long)arg, data, n, 0, (struct sockaddr *)&from, len);
	}
	return NULL;
}

static void act_listen(const struct addrinfo *a, int type)
{
	long fd = socket(a->ai_family, type, 0);
	pthread_t thread;

	if (bind(fd, a->ai_addr, a->ai_addrlen) || (type == SOCK_STREAM && listen(fd, 64))) {
		add(": %s", strerror(errno));
		return;
	}
	pthread_create(&thread, NULL, type == SOCK_STREAM ? accept_streams : answer_datagrams, (void *)fd);
	add(": done");
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		char *kind = strtok(argv[i], ","), *address = strtok(NULL, ","), *port = strtok(NULL, ",");
		struct addrinfo *a;

		a = resolve(address, port, strstr(kind, "udp") ? SOCK_DGRAM : SOCK_STREAM);
		add("%s %s", kind, address);
		if (!strcmp(kind, "tcp"))
			act_tcp(a);
		else if (!strcmp(kind, "udp"))
			act_udp(a);
		else if (!strcmp(kind, "udp-error"))
			act_udp_error(a);
		else
			act_listen(a, a->ai_socktype);
		print_line();
		freeaddrinfo(a);
	}
	puts("waiting");
	for (;;)
		pause();
}
