/* SPDX-License-Identifier: MPL-2.0 */
/* Prints what it finds out about its output, its name and its uptime. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static void print_names(char **argv)
{
	char comm[32] = "";
	int fd = open("/proc/self/comm", O_RDONLY);

	read(fd, comm, sizeof(comm) - 1);
	printf("argv[0] %s, name %s, comm %s", argv[0], program_invocation_name, comm);
}

static void print_uptime(void)
{
	struct timespec boot;
	struct sysinfo info;
	double proc = 0;
	FILE *f = fopen("/proc/uptime", "r");

	fscanf(f, "%lf", &proc);
	sysinfo(&info);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	printf("uptime %d %d %d\n", proc >= 1 && proc < 60, info.uptime >= 1 && info.uptime < 60,
	       boot.tv_sec >= 1 && boot.tv_sec < 60);
}

/* Writes a line to each path, as programs do that log to a file. */
static void write_by_name(void)
{
	static const char *const paths[] = {
		"/dev/stdout", "/dev/stderr", "/proc/self/fd/1", "/proc/self/fd/2", "/dev/console"
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		int fd = open(paths[i], O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY, 0644);

		if (fd < 0)
			printf("open %s: %s\n", paths[i], strerror(errno));
		else
			dprintf(fd, "by %s\n", paths[i]);
		close(fd);
	}
}

/* The output behaves as a pipe. */
static void check_stream(void)
{
	struct epoll_event event = { .events = EPOLLOUT };
	struct iovec parts[] = { { "by ", 3 }, { "writev\n", 7 } };
	struct pollfd poll_fd = { 1, POLLIN | POLLOUT, 0 };
	int set = epoll_create1(0);

	printf("lseek %s", lseek(1, 0, SEEK_CUR) < 0 && errno == ESPIPE ? "fails" : "works");
	poll(&poll_fd, 1, 0);
	printf(", poll %d, epoll %d", poll_fd.revents == POLLOUT, epoll_ctl(set, EPOLL_CTL_ADD, 1, &event));
	printf(", bad pointer %s\n", write(1, (char *)64, 8) < 0 ? strerror(errno) : "works");
	fflush(stdout);
	writev(1, parts, 2);
}

int main(int argc, char **argv)
{
	if (argc > 1 && atoi(argv[1]) > 0 && setuid(atoi(argv[1])) < 0)
		return 1;
	printf("isatty %d %d %d\n", isatty(0), isatty(1), isatty(2));
	print_names(argv);
	print_uptime();
	check_stream();
	fprintf(stderr, "to stderr\n");
	write_by_name();
	fflush(stdout);
	if (argc > 2)
		abort();
	return 0;
}
