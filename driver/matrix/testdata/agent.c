/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The guest of the network matrix. It serves echo on the port ECHO_PORT of its
 * environment, for TCP and UDP, and commands on the TCP port COMMAND_PORT: each line
 * is a command, and its answer is a line that begins with "done" or is "errno N". It
 * first carries out the commands in its arguments, and prints their answers.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_WORDS 8
#define LINE_SIZE 512
#define MAX_DATAGRAM 65536
#define MAX_CONNECTIONS 1024
#define MAX_FILES 16384
#define STACK_SIZE (64 << 10)	/* of a thread: there is one for each command */
#define TRIES 80	/* of a datagram, one each second */
#define ETHER_ADDR 6

struct endpoint {
	struct sockaddr_storage address;
	socklen_t size;
};

static int resolve(const char *host, const char *port, struct endpoint *to)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				  .ai_socktype = SOCK_DGRAM };
	struct addrinfo *found;

	if (getaddrinfo(host, port, &hints, &found)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(&to->address, found->ai_addr, found->ai_addrlen);
	to->size = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

/* Closes the descriptor and keeps errno. Returns -1. */
static int fail(int fd)
{
	int error = errno;

	close(fd);
	errno = error;
	return -1;
}

static int dial(int type, const char *host, const char *port)
{
	struct endpoint to;
	int fd;

	if (resolve(host, port, &to))
		return -1;
	fd = socket(to.address.ss_family, type, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&to.address, to.size) && errno != EINPROGRESS)
		return fail(fd);
	return fd;
}

static unsigned char pattern(size_t i)
{
	return i * 7 + (i >> 8);
}

static void fill(unsigned char *data, size_t first, size_t size)
{
	for (size_t i = 0; i < size; i++)
		data[i] = pattern(first + i);
}

static int check(const unsigned char *data, size_t first, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (data[i] != pattern(first + i)) {
			errno = EBADMSG;
			return -1;
		}
	return 0;
}

/* Sends bytes on a connection, and receives them back at the same time. */
static int exchange_stream(int fd, size_t bytes)
{
	unsigned char data[8192];
	size_t sent = 0, received = 0;

	while (received < bytes) {
		struct pollfd p = { fd, POLLIN | (sent < bytes ? POLLOUT : 0), 0 };
		ssize_t n;

		if (poll(&p, 1, -1) < 0)
			return -1;
		if (p.revents & POLLOUT) {
			size_t size = bytes - sent < sizeof(data) ? bytes - sent : sizeof(data);

			fill(data, sent, size);
			n = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n < 0 && errno != EAGAIN)
				return -1;
			sent += n > 0 ? n : 0;
		}
		if (!(p.revents & (POLLIN | POLLERR | POLLHUP)))
			continue;
		n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			continue;
		if (!n)
			errno = ECONNRESET;
		if (n <= 0 || check(data, received, n))
			return -1;
		received += n;
	}
	return 0;
}

/*
 * Sends a datagram until it comes back. EMSGSIZE means that a router has reported a
 * smaller MTU, so that the next datagram is sent in smaller fragments.
 */
static int exchange_datagram(int fd, size_t bytes)
{
	unsigned char *data = malloc(MAX_DATAGRAM);
	struct pollfd p = { fd, POLLIN, 0 };

	if (!data)
		return -1;
	for (int i = 0; i < TRIES; i++) {
		ssize_t n;

		fill(data, 0, bytes);
		if (send(fd, data, bytes, 0) < 0 && errno != ENOBUFS && errno != EMSGSIZE)
			goto failed;
		while (poll(&p, 1, 1000) > 0) {
			n = recv(fd, data, MAX_DATAGRAM, 0);
			if (n < 0 && errno == EMSGSIZE)
				break;
			if (n < 0)
				goto failed;
			if ((size_t)n != bytes)
				continue;
			n = check(data, 0, bytes);
			free(data);
			return n;
		}
	}
	errno = ETIMEDOUT;
failed:
	free(data);
	return -1;
}

static int exchange(int type, int fd, size_t bytes)
{
	return type == SOCK_STREAM ? exchange_stream(fd, bytes) : exchange_datagram(fd, bytes);
}

/* Returns the path MTU of a connected socket. */
static int path_mtu(int fd)
{
	struct sockaddr_storage local;
	socklen_t size = sizeof(local);
	int mtu = -1;

	if (getsockname(fd, (struct sockaddr *)&local, &size))
		return -1;
	size = sizeof(mtu);
	if (local.ss_family == AF_INET)
		getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &size);
	else
		getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &size);
	return mtu;
}

static void wait_seconds(const char *text)
{
	struct timespec left = { .tv_sec = atoi(text) };

	while (nanosleep(&left, &left))
		;
}

/*
 * tcp HOST PORT BYTES [SECONDS]: sends bytes to an echo server. With seconds, it
 * does so again on the same connection, after that time.
 */
static int talk(int type, char **words, char *answer)
{
	int fd = dial(type, words[1], words[2]);

	if (fd < 0)
		return -1;
	if (exchange(type, fd, atoi(words[3])))
		return fail(fd);
	if (words[4]) {
		wait_seconds(words[4]);
		if (exchange(type, fd, atoi(words[3])))
			return fail(fd);
	}
	sprintf(answer, "mtu %d", path_mtu(fd));
	close(fd);
	return 0;
}

static int run_tcp(int conn, char **words, char *answer)
{
	(void)conn;
	return talk(SOCK_STREAM, words, answer);
}

static int run_udp(int conn, char **words, char *answer)
{
	(void)conn;
	return talk(SOCK_DGRAM, words, answer);
}

static int finish_connect(int fd)
{
	struct pollfd p = { fd, POLLOUT, 0 };
	socklen_t size = sizeof(int);
	int error = 0;

	if (poll(&p, 1, -1) < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size))
		return -1;
	errno = error;
	return error ? -1 : 0;
}

/* parallel HOST PORT COUNT: holds connections to an echo server at the same time. */
static int run_parallel(int conn, char **words, char *answer)
{
	int fds[MAX_CONNECTIONS], count = 0, wanted = atoi(words[3]), result = 0;

	(void)conn;
	(void)answer;
	while (count < wanted && count < MAX_CONNECTIONS) {
		fds[count] = dial(SOCK_STREAM | SOCK_NONBLOCK, words[1], words[2]);
		if (fds[count] < 0)
			break;
		count++;
	}
	if (count < wanted)
		result = -1;
	for (int i = 0; i < count && !result; i++)
		result = finish_connect(fds[i]);
	for (int i = 0; i < count && !result; i++)
		result = exchange_stream(fds[i], 1000);
	for (int i = 0; i < count; i++)
		fail(fds[i]);
	return result;
}

/*
 * unfragmented HOST PORT BYTES: sends datagrams that may not be fragmented, until
 * one is refused because a router has reported a smaller MTU.
 */
static int run_unfragmented(int conn, char **words, char *answer)
{
	static const unsigned char data[MAX_DATAGRAM];
	int fd = dial(SOCK_DGRAM, words[1], words[2]), sent = 0, only = IP_PMTUDISC_DO;
	int v6 = !!strchr(words[1], ':'), yes = 1;

	(void)conn;
	if (fd < 0)
		return -1;
	if (v6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_DONTFRAG, &yes, sizeof(yes)) :
		 setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &only, sizeof(only)))
		return fail(fd);
	for (; sent < TRIES; sent++) {
		struct pollfd p = { fd, POLLIN, 0 };

		if (send(fd, data, atoi(words[3]), 0) < 0)
			break;
		if (poll(&p, 1, 1000) > 0 && recv(fd, NULL, 0, 0) < 0 && errno != EMSGSIZE)
			return fail(fd);
		errno = ETIMEDOUT;
	}
	if (errno != EMSGSIZE)
		return fail(fd);
	sprintf(answer, "mtu %d, %s", path_mtu(fd), sent ? "learned" : "known before");
	close(fd);
	return 0;
}

static unsigned short checksum(const unsigned char *data, size_t size)
{
	unsigned long sum = 0;

	for (size_t i = 0; i < size; i++)
		sum += i % 2 ? data[i] : data[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum & 0xffff);
}

static int is_reply(const unsigned char *packet, ssize_t n, const unsigned char *request,
		    ssize_t size)
{
	if (request[0] == ICMP_ECHO) {
		if (n < 20)
			return 0;
		n -= (packet[0] & 15) * 4;
		packet += (packet[0] & 15) * 4;
	}
	return n == size && (packet[0] == ICMP_ECHOREPLY || packet[0] == ICMP6_ECHO_REPLY) &&
	       !memcmp(packet + 4, request + 4, size - 4);
}

/* ping HOST BYTES: sends echo requests until a reply comes. */
static int run_ping(int conn, char **words, char *answer)
{
	static unsigned short last;
	ssize_t size = 8 + atoi(words[2]);
	unsigned char *request = malloc(size), *packet = malloc(MAX_DATAGRAM);
	unsigned short id = htons(__atomic_add_fetch(&last, 1, __ATOMIC_RELAXED));
	int v6 = !!strchr(words[1], ':'), result = -1, fd;
	struct endpoint to;

	(void)conn;
	(void)answer;
	fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_RAW, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	if (fd < 0 || !request || !packet || resolve(words[1], NULL, &to))
		goto out;
	fill(request, 0, size);
	memset(request, 0, 8);
	request[0] = v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO;
	memcpy(request + 4, &id, sizeof(id));
	if (!v6)
		memcpy(request + 2, &(unsigned short){ checksum(request, size) }, 2);
	for (int i = 0; i < TRIES && result; i++) {
		struct pollfd p = { fd, POLLIN, 0 };

		if (sendto(fd, request, size, 0, (struct sockaddr *)&to.address, to.size) < 0)
			break;
		errno = ETIMEDOUT;
		while (result && poll(&p, 1, 1000) > 0)
			if (is_reply(packet, recv(fd, packet, MAX_DATAGRAM, 0), request, size))
				result = 0;
	}
out:
	free(request);
	free(packet);
	if (fd >= 0)
		fail(fd);
	return result;
}

/*
 * resolve NAME: prints the addresses of a name. EAI_AGAIN means that the server has
 * not answered: the query or the answer may have been lost.
 */
static int run_resolve(int conn, char **words, char *answer)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
	int error = EAI_AGAIN, length = 0;

	(void)conn;
	for (int i = 0; i < TRIES / 5 && error == EAI_AGAIN; i++)
		error = getaddrinfo(words[1], NULL, &hints, &found);
	if (error) {
		sprintf(answer, "nothing: %s", gai_strerror(error));
		return 0;
	}
	for (struct addrinfo *a = found; a; a = a->ai_next) {
		char text[64];

		if (!getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST) &&
		    length + strlen(text) + 2 < LINE_SIZE / 2)
			length += sprintf(answer + length, "%s%s", length ? " " : "", text);
	}
	freeaddrinfo(found);
	return 0;
}

static int run_wait(int conn, char **words, char *answer)
{
	(void)conn;
	(void)answer;
	wait_seconds(words[1]);
	return 0;
}

static int print_name(int fd, int (*get)(int, struct sockaddr *, socklen_t *), char *answer)
{
	struct sockaddr_storage name;
	socklen_t size = sizeof(name);
	char host[64], port[8];

	if (get(fd, (struct sockaddr *)&name, &size))
		return -1;
	if (getnameinfo((struct sockaddr *)&name, size, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV)) {
		errno = EINVAL;
		return -1;
	}
	sprintf(answer, "%s %s", host, port);
	return 0;
}

/* peer: prints the address from which the command came. */
static int run_peer(int conn, char **words, char *answer)
{
	(void)words;
	return print_name(conn, getpeername, answer);
}

/* local HOST PORT: prints the address and port from which a connection starts. */
static int run_local(int conn, char **words, char *answer)
{
	int fd = dial(SOCK_DGRAM, words[1], words[2]);

	(void)conn;
	if (fd < 0)
		return -1;
	if (print_name(fd, getsockname, answer))
		return fail(fd);
	close(fd);
	return 0;
}

/* arp: brings each Ethernet interface up, and sends an ARP request for 192.0.2.1. */
static int run_arp(int conn, char **words, char *answer)
{
	struct if_nameindex *all = if_nameindex();
	int fd = socket(AF_PACKET, SOCK_RAW, 0), sent = 0;

	(void)conn;
	(void)words;
	for (struct if_nameindex *i = all; fd >= 0 && i && i->if_index; i++) {
		struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = i->if_index };
		unsigned char frame[42] = { [12] = 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };
		struct ifreq request = { 0 };

		strcpy(request.ifr_name, i->if_name);
		if (ioctl(fd, SIOCGIFHWADDR, &request) || request.ifr_hwaddr.sa_family != 1)
			continue;
		memset(frame, 0xff, ETHER_ADDR);
		memcpy(frame + ETHER_ADDR, request.ifr_hwaddr.sa_data, ETHER_ADDR);
		memcpy(frame + 22, request.ifr_hwaddr.sa_data, ETHER_ADDR);
		memcpy(frame + 38, (unsigned char[]){ 192, 0, 2, 1 }, 4);
		request.ifr_flags = IFF_UP | IFF_BROADCAST | IFF_MULTICAST;
		ioctl(fd, SIOCSIFFLAGS, &request);
		if (sendto(fd, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to)) > 0)
			sent += sprintf(answer + sent, "%s%s", sent ? " " : "", i->if_name);
	}
	if_freenameindex(all);
	if (fd >= 0)
		fail(fd);
	return sent ? 0 : -1;
}

static int start_echo(const char *host, const char *port);

/* listen HOST PORT: starts another echo server, for TCP and UDP. */
static int run_listen(int conn, char **words, char *answer)
{
	(void)conn;
	(void)answer;
	return start_echo(words[1], words[2]);
}

static const struct command {
	const char *name;
	int least;	/* number of parameters */
	int (*run)(int conn, char **words, char *answer);
} commands[] = {
	{ "tcp", 3, run_tcp },
	{ "udp", 3, run_udp },
	{ "parallel", 3, run_parallel },
	{ "unfragmented", 3, run_unfragmented },
	{ "ping", 2, run_ping },
	{ "resolve", 1, run_resolve },
	{ "wait", 1, run_wait },
	{ "peer", 0, run_peer },
	{ "local", 2, run_local },
	{ "arp", 0, run_arp },
	{ "listen", 2, run_listen },
};

/* Carries out a command, and replaces it by its answer. */
static void run_command(int conn, char *line)
{
	char answer[LINE_SIZE] = "", *words[MAX_WORDS + 1] = { NULL }, *rest = NULL;
	int n = 0, result = -1;

	for (char *w = strtok_r(line, " \r\n", &rest); w && n < MAX_WORDS; w = strtok_r(NULL, " \r\n", &rest))
		words[n++] = w;
	errno = ENOSYS;
	for (size_t i = 0; n && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(words[0], commands[i].name) && n > commands[i].least) {
			result = commands[i].run(conn, words, answer);
			break;
		}
	if (result)
		snprintf(line, LINE_SIZE, "errno %d\n", errno);
	else
		snprintf(line, LINE_SIZE, "done%s%.400s\n", answer[0] ? " " : "", answer);
}

static void *serve_commands(void *arg)
{
	int fd = (int)(long)arg;
	FILE *f = fdopen(fd, "r");
	char line[LINE_SIZE];

	while (f && fgets(line, sizeof(line), f)) {
		run_command(fd, line);
		if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
			break;
	}
	if (f)
		fclose(f);
	return NULL;
}

static void send_all(int fd, const unsigned char *data, ssize_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

		if (sent <= 0)
			break;
		data += sent;
		size -= sent;
	}
}

/* One thread serves all connections, since there are thousands. */
static void *echo_streams(void *arg)
{
	int server = (int)(long)arg, events = epoll_create1(0);
	struct epoll_event e = { .events = EPOLLIN, .data = { .fd = server } };
	unsigned char data[8192];

	epoll_ctl(events, EPOLL_CTL_ADD, server, &e);
	for (;;) {
		int fd;
		ssize_t n;

		if (epoll_wait(events, &e, 1, -1) < 1)
			continue;
		fd = e.data.fd;
		if (fd == server) {
			e.data.fd = accept(server, NULL, NULL);
			if (e.data.fd < 0 || epoll_ctl(events, EPOLL_CTL_ADD, e.data.fd, &e))
				perror("accept");
			continue;
		}
		n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
		if (n > 0)
			send_all(fd, data, n);
		else if (!n || errno != EAGAIN)
			close(fd);
	}
	return NULL;
}

static void *echo_datagrams(void *arg)
{
	int fd = (int)(long)arg;
	unsigned char *data = malloc(MAX_DATAGRAM);

	while (data) {
		struct sockaddr_storage from;
		socklen_t size = sizeof(from);
		ssize_t n = recvfrom(fd, data, MAX_DATAGRAM, 0, (struct sockaddr *)&from, &size);

		if (n >= 0)
			sendto(fd, data, n, 0, (struct sockaddr *)&from, size);
	}
	return NULL;
}

static int start_thread(void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	errno = pthread_create(&thread, &attr, run, arg);
	if (errno)
		perror("pthread_create");
	return errno ? -1 : 0;
}

static void *accept_commands(void *arg)
{
	int server = (int)(long)arg;

	for (;;) {
		int fd = accept(server, NULL, NULL);

		if (fd < 0)
			perror("accept");
		else if (start_thread(serve_commands, (void *)(long)fd))
			close(fd);
	}
	return NULL;
}

static int bind_port(int type, const char *host, const char *port)
{
	struct endpoint at;
	int fd, yes = 1;

	if (resolve(host, port, &at))
		return -1;
	fd = socket(at.address.ss_family, type, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(fd, (struct sockaddr *)&at.address, at.size) ||
	    (type == SOCK_STREAM && listen(fd, 1024)))
		return fail(fd);
	return fd;
}

static int start_server(void *(*serve)(void *), int type, const char *host, const char *port)
{
	long fd = bind_port(type, host, port);

	return fd < 0 ? -1 : start_thread(serve, (void *)fd);
}

static int start_echo(const char *host, const char *port)
{
	return start_server(echo_datagrams, SOCK_DGRAM, host, port) ||
	       start_server(echo_streams, SOCK_STREAM, host, port);
}

int main(int argc, char **argv)
{
	struct rlimit files = { MAX_FILES, MAX_FILES };

	setrlimit(RLIMIT_NOFILE, &files);
	for (int i = 1; i < argc; i++) {
		char line[LINE_SIZE];

		snprintf(line, sizeof(line), "%s", argv[i]);
		run_command(-1, line);
		printf("%s: %s", argv[i], line);
		fflush(stdout);
	}
	if (start_echo("::", getenv("ECHO_PORT")) ||
	    start_server(accept_commands, SOCK_STREAM, "::", getenv("COMMAND_PORT"))) {
		perror("listen");
		return 1;
	}
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}
