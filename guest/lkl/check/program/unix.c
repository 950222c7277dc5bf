/* SPDX-License-Identifier: MPL-2.0 */
/* Unix sockets, their ancillary data, and host names. */
#define _GNU_SOURCE
#include "check.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static struct sockaddr_un unix_address(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	strcpy(a.sun_path, path);
	return a;
}

static void by_path(void)
{
	struct sockaddr_un a = unix_address("socket"), got;
	socklen_t size = sizeof(got);
	int listener = OK(socket(AF_UNIX, SOCK_STREAM, 0)), fd, other;
	struct stat st;
	char text[8] = "";

	fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	FAILS(connect(fd, (struct sockaddr *)&a, sizeof(a)), ENOENT);
	OK(bind(listener, (struct sockaddr *)&a, sizeof(a)));
	OK(stat("socket", &st));
	TRUE(S_ISSOCK(st.st_mode));
	FAILS(connect(fd, (struct sockaddr *)&a, sizeof(a)), ECONNREFUSED);
	OK(listen(listener, 1));
	OK(connect(fd, (struct sockaddr *)&a, sizeof(a)));
	other = OK(accept(listener, NULL, NULL));
	GIVES(write(fd, "text", 4), 4);
	GIVES(read(other, text, 8), 4);
	TEXT(text, "text");
	OK(getpeername(fd, (struct sockaddr *)&got, &size));
	TEXT(got.sun_path, "socket");
	FAILS(bind(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&a, sizeof(a)),
	      EADDRINUSE);
	FAILS(open("socket", O_RDWR), ENXIO);
	OK(unlink("socket"));
	FAILS(connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&a, sizeof(a)),
	      ENOENT);
}

static void abstract(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "\0lkl-check" };
	socklen_t size = sizeof(sa_family_t) + 10;
	int listener = OK(socket(AF_UNIX, SOCK_STREAM, 0));

	OK(bind(listener, (struct sockaddr *)&a, size));
	OK(listen(listener, 1));
	OK(connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&a, size));
	FAILS(bind(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&a, size), EADDRINUSE);
	OK(close(listener));
	FAILS(connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&a, size),
	      ECONNREFUSED);
}

static void messages(void)
{
	char text[16];
	int fd[2];

	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd));
	GIVES(send(fd[0], "one", 3, 0), 3);
	GIVES(send(fd[0], "three", 5, 0), 5);
	GIVES(recv(fd[1], text, 16, 0), 3);
	GIVES(recv(fd[1], text, 2, 0), 2);
	FAILS(recv(fd[1], text, 16, MSG_DONTWAIT), EAGAIN);
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd));
	GIVES(send(fd[0], "one", 3, 0), 3);
	GIVES(send(fd[0], "three", 5, 0), 5);
	GIVES(recv(fd[1], text, 16, 0), 3);
	OK(close(fd[0]));
	GIVES(recv(fd[1], text, 16, 0), 5);
	GIVES(recv(fd[1], text, 16, 0), 0);
	FAILS(socketpair(AF_INET, SOCK_STREAM, 0, fd), EOPNOTSUPP);
}

const struct check unix_checks[] = {
	{ "unix_by_path", by_path },
	{ "unix_abstract", abstract },
	{ "unix_messages", messages },
	{ 0 }
};

static union {
	struct cmsghdr header;
	char room[CMSG_SPACE(10 * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
} control;
static char byte;
static struct iovec one_byte = { &byte, 1 };

static struct msghdr one_byte_message(size_t room)
{
	return (struct msghdr){
		.msg_iov = &one_byte,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = room,
	};
}

/* Fills in the header of a message that passes descriptors. */
static void set_rights_header(struct cmsghdr *c, int count)
{
	c->cmsg_len = CMSG_LEN(count * sizeof(int));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
}

static void descriptors(void)
{
	int fd[2], file = OK(open("file", O_RDWR | O_CREAT, 0666)), got[2] = { -1, -1 };
	struct msghdr m = one_byte_message(CMSG_SPACE(2 * sizeof(int)));
	struct cmsghdr *c;
	char text[8] = "";

	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
	GIVES(write(file, "text", 4), 4);
	c = CMSG_FIRSTHDR(&m);
	set_rights_header(c, 2);
	memcpy(CMSG_DATA(c), (int[]){ file, fd[0] }, 2 * sizeof(int));
	GIVES(sendmsg(fd[0], &m, 0), 1);
	OK(close(file));
	m = one_byte_message(sizeof(control));
	GIVES(recvmsg(fd[1], &m, MSG_CMSG_CLOEXEC), 1);
	c = SOME(CMSG_FIRSTHDR(&m));
	IS(c->cmsg_type, SCM_RIGHTS);
	IS(c->cmsg_len, CMSG_LEN(2 * sizeof(int)));
	memcpy(got, CMSG_DATA(c), sizeof(got));
	IS(fcntl(got[0], F_GETFD), FD_CLOEXEC);
	GIVES(pread(got[0], text, 8, 0), 4);
	TEXT(text, "text");
	GIVES(write(got[1], "x", 1), 1);
	GIVES(read(fd[1], text, 8), 1);
	/*
	 * A descriptor that is sent and never received is closed with the
	 * socket.
	 */
	m = one_byte_message(CMSG_SPACE(sizeof(int)));
	c = CMSG_FIRSTHDR(&m);
	set_rights_header(c, 1);
	memcpy(CMSG_DATA(c), &fd[1], sizeof(int));
	GIVES(sendmsg(fd[0], &m, 0), 1);
	memcpy(CMSG_DATA(c), (int[]){ 999 }, sizeof(int));
	FAILS(sendmsg(fd[0], &m, 0), EBADF);
}

static void credentials(void)
{
	struct msghdr m = one_byte_message(sizeof(control));
	struct ucred who = { 0 };
	socklen_t size = sizeof(who);
	struct cmsghdr *c;
	int fd[2], on = 1;

	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
	OK(getsockopt(fd[0], SOL_SOCKET, SO_PEERCRED, &who, &size));
	TRUE(who.pid == getpid() && who.uid == getuid() && who.gid == getgid());
	OK(setsockopt(fd[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
	GIVES(write(fd[0], "x", 1), 1);
	GIVES(recvmsg(fd[1], &m, 0), 1);
	c = SOME(CMSG_FIRSTHDR(&m));
	IS(c->cmsg_type, SCM_CREDENTIALS);
	memcpy(&who, CMSG_DATA(c), sizeof(who));
	TRUE(who.pid == getpid() && who.uid == getuid());
}

const struct check passing_checks[] = {
	{ "unix_descriptors", descriptors },
	{ "unix_credentials", credentials },
	{ 0 }
};

static void addresses(void)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM }, *found;
	struct in6_addr six;
	struct in_addr four;
	char text[64];

	IS(getaddrinfo("192.0.2.7", "80", &hints, &found), 0);
	IS(found->ai_family, AF_INET);
	IS(ntohs(((struct sockaddr_in *)found->ai_addr)->sin_port), 80);
	IS(getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof(text), NULL, 0,
		       NI_NUMERICHOST), 0);
	TEXT(text, "192.0.2.7");
	freeaddrinfo(found);
	IS(getaddrinfo("not-a-number", "80", &hints, &found), EAI_NONAME);
	hints.ai_flags = 0;
	hints.ai_family = AF_INET;
	IS(getaddrinfo("localhost", "80", &hints, &found), 0);
	IS(ntohl(((struct sockaddr_in *)found->ai_addr)->sin_addr.s_addr), INADDR_LOOPBACK);
	freeaddrinfo(found);
	IS(inet_pton(AF_INET, "1.2.3.4", &four), 1);
	IS(inet_pton(AF_INET, "1.2.3", &four), 0);
	IS(inet_pton(AF_INET6, "2001:db8::1", &six), 1);
	TEXT(inet_ntop(AF_INET6, &six, text, sizeof(text)), "2001:db8::1");
}

static void interfaces(void)
{
	struct ifaddrs *list, *i;
	bool four = false, six = false;
	char name[IF_NAMESIZE];

	OK(getifaddrs(&list));
	for (i = list; i; i = i->ifa_next) {
		if (strcmp(i->ifa_name, "lo") != 0 || !i->ifa_addr)
			continue;
		TRUE(i->ifa_flags & IFF_LOOPBACK && i->ifa_flags & IFF_UP);
		four |= i->ifa_addr->sa_family == AF_INET;
		six |= i->ifa_addr->sa_family == AF_INET6;
	}
	freeifaddrs(list);
	TRUE(four && six);
	IS(if_nametoindex("lo"), 1);
	TEXT(if_indextoname(1, name), "lo");
	IS(if_nametoindex("none"), 0);
}

const struct check resolve_checks[] = {
	{ "names_addresses", addresses },
	{ "names_interfaces", interfaces },
	{ 0 }
};
