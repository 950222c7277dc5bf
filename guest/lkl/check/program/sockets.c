/* SPDX-License-Identifier: MPL-2.0 */
/* TCP and UDP on the loopback interface, IPv4 and IPv6. */
#define _GNU_SOURCE
#include "check.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

/* Returns a socket that listens on a port chosen by the kernel. */
static int listening(struct sockaddr_in *a)
{
	int fd = OK(socket(AF_INET, SOCK_STREAM, 0));
	socklen_t size = sizeof(*a);

	*a = loopback(0);
	OK(bind(fd, (struct sockaddr *)a, sizeof(*a)));
	OK(listen(fd, 8));
	OK(getsockname(fd, (struct sockaddr *)a, &size));
	TRUE(a->sin_port != 0);
	return fd;
}

static void connected(int fd[2])
{
	struct sockaddr_in a;
	int listener = listening(&a);

	fd[0] = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(fd[0], (struct sockaddr *)&a, sizeof(a)));
	fd[1] = OK(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	OK(close(listener));
}

static void stream(void)
{
	struct sockaddr_in own, peer;
	socklen_t size = sizeof(own);
	char text[16] = "";
	int fd[2];

	connected(fd);
	OK(getsockname(fd[0], (struct sockaddr *)&own, &size));
	size = sizeof(peer);
	OK(getpeername(fd[1], (struct sockaddr *)&peer, &size));
	IS(own.sin_port == peer.sin_port, true);
	IS(size, sizeof(peer));
	GIVES(send(fd[0], "hello", 5, 0), 5);
	GIVES(recv(fd[1], text, 3, MSG_PEEK), 3);
	GIVES(recv(fd[1], text, 5, MSG_WAITALL), 5);
	TEXT(text, "hello");
	FAILS(recv(fd[1], text, 1, MSG_DONTWAIT), EAGAIN);
	OK(shutdown(fd[0], SHUT_WR));
	GIVES(recv(fd[1], text, 1, 0), 0);
	FAILS(send(fd[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	GIVES(send(fd[1], "back", 4, 0), 4);
	GIVES(recv(fd[0], text, 16, 0), 4);
	OK(close(fd[1]));
	GIVES(recv(fd[0], text, 16, 0), 0);
}

static void *send_much(void *arg)
{
	static char block[100000];

	for (int i = 0; i < 100; i++) {
		size_t done = 0;

		memset(block, i, sizeof(block));
		while (done < sizeof(block))
			done += OK(send(*(int *)arg, block + done, sizeof(block) - done, 0));
	}
	OK(shutdown(*(int *)arg, SHUT_WR));
	return arg;
}

static void much(void)
{
	static char text[65536];
	pthread_t thread;
	long place = 0;
	ssize_t n;
	int fd[2];

	connected(fd);
	thread = start_thread(send_much, &fd[0]);
	while ((n = OK(recv(fd[1], text, sizeof(text), 0))) > 0)
		for (ssize_t i = 0; i < n; i++, place++)
			if (text[i] != (char)(place / 100000))
				check_failed("a byte", "as it was sent", "another");
	IS(place, 10000000);
	join_thread(thread);
}

static void refused(void)
{
	struct sockaddr_in a, nowhere = loopback(9);
	int listener = listening(&a), fd;

	OK(close(listener));
	fd = OK(socket(AF_INET, SOCK_STREAM, 0));
	FAILS(connect(fd, (struct sockaddr *)&a, sizeof(a)), ECONNREFUSED);
	FAILS(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	FAILS(recv(fd, &a, 1, 0), ENOTCONN);
	FAILS(getpeername(fd, (struct sockaddr *)&a, &(socklen_t){ sizeof(a) }), ENOTCONN);
	FAILS(shutdown(fd, SHUT_RD), ENOTCONN);
	nowhere.sin_addr.s_addr = inet_addr("192.0.2.1");
	fd = OK(socket(AF_INET, SOCK_STREAM, 0));
	FAILS(bind(fd, (struct sockaddr *)&nowhere, sizeof(nowhere)), EADDRNOTAVAIL);
	FAILS(bind(fd, (struct sockaddr *)&a, 4), EINVAL);
	FAILS(connect(fd, (struct sockaddr *)&nowhere, sizeof(nowhere)), ENETUNREACH);
	FAILS(accept(fd, NULL, NULL), EINVAL);
}

static void wrong_arguments(void)
{
	int file = OK(open("file", O_RDWR | O_CREAT, 0666));
	int fd = OK(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in a;
	int first = listening(&a), on = 1;

	FAILS(socket(99, SOCK_STREAM, 0), EAFNOSUPPORT);
	FAILS(socket(AF_INET, 99, 0), EINVAL);
	FAILS(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
	FAILS(listen(file, 1), ENOTSOCK);
	FAILS(send(-1, "x", 1, 0), EBADF);
	FAILS(bind(fd, (struct sockaddr *)&a, sizeof(a)), EADDRINUSE);
	FAILS(setsockopt(fd, SOL_SOCKET, 9999, &on, sizeof(on)), ENOPROTOOPT);
	FAILS(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, 1), EINVAL);
	FAILS(setsockopt(fd, 9999, 1, &on, sizeof(on)), ENOPROTOOPT);
	OK(connect(fd, (struct sockaddr *)&a, sizeof(a)));
	FAILS(connect(fd, (struct sockaddr *)&a, sizeof(a)), EISCONN);
	FAILS(connect(first, (struct sockaddr *)&a, sizeof(a)), EISCONN);
	a.sin_family = 99;
	FAILS(connect(OK(socket(AF_INET, SOCK_STREAM, 0)), (struct sockaddr *)&a, sizeof(a)),
	      EAFNOSUPPORT);
}

static void without_waiting(void)
{
	struct sockaddr_in a;
	struct pollfd p = { .events = POLLOUT };
	int listener = listening(&a), fd, error = -1, one;
	socklen_t size = sizeof(error);
	static char block[1 << 20];
	ssize_t n;

	OK(fcntl(listener, F_SETFL, O_NONBLOCK));
	FAILS(accept(listener, NULL, NULL), EAGAIN);
	fd = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	one = connect(fd, (struct sockaddr *)&a, sizeof(a));
	TRUE(one == 0 || errno == EINPROGRESS);
	p.fd = fd;
	GIVES(poll(&p, 1, 10000), 1);
	IS(p.revents, POLLOUT);
	OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
	IS(error, 0);
	p = (struct pollfd){ listener, POLLIN, 0 };
	GIVES(poll(&p, 1, 10000), 1);
	one = OK(accept(listener, NULL, NULL));
	FAILS(recv(fd, block, 1, 0), EAGAIN);
	p = (struct pollfd){ fd, POLLOUT, 0 };
	/* On a busy machine, the kernel moves data to the receiver after send. */
	do {
		while ((n = send(fd, block, sizeof(block), 0)) > 0)
			;
		IS(errno, EAGAIN);
	} while (OK(poll(&p, 1, 100)) > 0);
	OK(close(one));
	p.events = POLLIN;
	GIVES(poll(&p, 1, 10000), 1);
	FAILS(recv(fd, block, 1, 0), ECONNRESET);
}

static void reset_by_peer(void)
{
	struct linger hard = { 1, 0 };
	char byte;
	int fd[2];

	connected(fd);
	OK(setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)));
	OK(close(fd[0]));
	FAILS(recv(fd[1], &byte, 1, 0), ECONNRESET);
	FAILS(send(fd[1], &byte, 1, MSG_NOSIGNAL), EPIPE);
}

static void times_out(void)
{
	struct timeval t = { 0, 30000 };
	int64_t begin = now_ns();
	char byte;
	int fd[2];

	connected(fd);
	OK(setsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)));
	FAILS(recv(fd[0], &byte, 1, 0), EAGAIN);
	TRUE(now_ns() - begin >= 25000000);
}

static void urgent(void)
{
	char byte = 0;
	int fd[2], mark = 0, got = 0;

	connected(fd);
	GIVES(send(fd[0], "a!", 2, MSG_OOB), 2);
	SOON(got == 1 || (got = recv(fd[1], &byte, 1, MSG_OOB)) == 1);
	IS(byte, '!');
	GIVES(recv(fd[1], &byte, 1, 0), 1);
	IS(byte, 'a');
	OK(ioctl(fd[1], SIOCATMARK, &mark));
	IS(mark, 1);
}

static void datagrams(void)
{
	struct sockaddr_in a = loopback(0), from;
	socklen_t size = sizeof(a);
	int one = OK(socket(AF_INET, SOCK_DGRAM, 0)), two = OK(socket(AF_INET, SOCK_DGRAM, 0)), n;
	struct iovec parts[2] = { { "ab", 2 }, { "cd", 2 } };
	struct msghdr m = {
		.msg_name = &a, .msg_namelen = sizeof(a), .msg_iov = parts, .msg_iovlen = 2,
	};
	static char big[70000];
	char text[16] = "";

	OK(bind(one, (struct sockaddr *)&a, sizeof(a)));
	OK(getsockname(one, (struct sockaddr *)&a, &size));
	FAILS(send(two, "x", 1, 0), EDESTADDRREQ);
	GIVES(sendto(two, "first", 5, 0, (struct sockaddr *)&a, sizeof(a)), 5);
	GIVES(sendto(two, "", 0, 0, (struct sockaddr *)&a, sizeof(a)), 0);
	GIVES(sendmsg(two, &m, 0), 4);
	OK(ioctl(one, FIONREAD, &n));
	IS(n, 5);
	size = sizeof(from);
	GIVES(recvfrom(one, text, 3, MSG_TRUNC, (struct sockaddr *)&from, &size), 5);
	TEXT(text, "fir");
	IS(size, sizeof(from));
	GIVES(recv(one, text, 16, 0), 0);
	m = (struct msghdr){ .msg_iov = &(struct iovec){ text, 2 }, .msg_iovlen = 1 };
	GIVES(recvmsg(one, &m, 0), 2);
	IS(m.msg_flags, MSG_TRUNC);
	FAILS(sendto(two, big, sizeof(big), 0, (struct sockaddr *)&a, sizeof(a)), EMSGSIZE);
	GIVES(sendto(two, big, 60000, 0, (struct sockaddr *)&a, sizeof(a)), 60000);
	GIVES(recv(one, big, sizeof(big), 0), 60000);
	OK(connect(two, (struct sockaddr *)&a, sizeof(a)));
	OK(close(one));
	GIVES(send(two, "lost", 4, 0), 4);
	FAILS(recv(two, text, 1, 0), ECONNREFUSED);
}

static void sixth_version(void)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int listener = OK(socket(AF_INET6, SOCK_STREAM, 0)), fd, on = 0;
	socklen_t size = sizeof(a);
	struct sockaddr_in old;
	char byte;

	OK(bind(listener, (struct sockaddr *)&a, sizeof(a)));
	OK(listen(listener, 1));
	OK(getsockname(listener, (struct sockaddr *)&a, &size));
	IS(size, sizeof(a));
	fd = OK(socket(AF_INET6, SOCK_STREAM, 0));
	OK(connect(fd, (struct sockaddr *)&a, sizeof(a)));
	GIVES(send(fd, "6", 1, 0), 1);
	GIVES(recv(OK(accept(listener, NULL, NULL)), &byte, 1, 0), 1);
	/* One socket accepts both versions. */
	listener = OK(socket(AF_INET6, SOCK_STREAM, 0));
	OK(setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)));
	a = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
	OK(bind(listener, (struct sockaddr *)&a, sizeof(a)));
	OK(listen(listener, 1));
	OK(getsockname(listener, (struct sockaddr *)&a, &size));
	fd = OK(socket(AF_INET, SOCK_STREAM, 0));
	old = loopback(ntohs(a.sin6_port));
	OK(connect(fd, (struct sockaddr *)&old, sizeof(old)));
	OK(accept(listener, (struct sockaddr *)&a, &size));
	TRUE(IN6_IS_ADDR_V4MAPPED(&a.sin6_addr));
}

const struct check inet_checks[] = {
	{ "inet_stream", stream },
	{ "inet_much", much },
	{ "inet_refused", refused },
	{ "inet_wrong_arguments", wrong_arguments },
	{ "inet_without_waiting", without_waiting },
	{ "inet_reset_by_peer", reset_by_peer },
	{ "inet_times_out", times_out },
	{ "inet_urgent", urgent },
	{ "inet_datagrams", datagrams },
	{ "inet_sixth_version", sixth_version },
	{ 0 }
};

static int get_option(int fd, int level, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	OK(getsockopt(fd, level, name, &value, &size));
	return value;
}

static void set_option(int fd, int level, int name, int value)
{
	OK(setsockopt(fd, level, name, &value, sizeof(value)));
	IS(get_option(fd, level, name), value);
}

static void options(void)
{
	int tcp = OK(socket(AF_INET, SOCK_STREAM, 0)), udp = OK(socket(AF_INET, SOCK_DGRAM, 0));

	set_option(tcp, SOL_SOCKET, SO_REUSEADDR, 1);
	set_option(tcp, SOL_SOCKET, SO_REUSEPORT, 1);
	set_option(tcp, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(udp, SOL_SOCKET, SO_BROADCAST, 1);
	set_option(tcp, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(tcp, IPPROTO_TCP, TCP_KEEPIDLE, 77);
	set_option(tcp, IPPROTO_TCP, TCP_KEEPINTVL, 7);
	set_option(tcp, IPPROTO_TCP, TCP_KEEPCNT, 3);
	set_option(tcp, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
	set_option(tcp, IPPROTO_IP, IP_TTL, 9);
	set_option(tcp, IPPROTO_IP, IP_TOS, 0x10);
	set_option(udp, IPPROTO_IP, IP_MULTICAST_TTL, 3);
	IS(get_option(tcp, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
	IS(get_option(udp, SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
	IS(get_option(tcp, SOL_SOCKET, SO_DOMAIN), AF_INET);
	IS(get_option(tcp, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
	IS(get_option(tcp, SOL_SOCKET, SO_ACCEPTCONN), 0);
	OK(setsockopt(tcp, SOL_SOCKET, SO_RCVBUF, &(int){ 20000 }, sizeof(int)));
	IS(get_option(tcp, SOL_SOCKET, SO_RCVBUF), 40000);
}

const struct check option_checks[] = {
	{ "inet_options", options },
	{ 0 }
};
