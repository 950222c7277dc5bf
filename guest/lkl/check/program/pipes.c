/* SPDX-License-Identifier: MPL-2.0 */
/* Pipes, poll and select. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>

static void carries_bytes(void)
{
	char text[16] = "";
	int fd[2], n = 0;

	OK(pipe(fd));
	GIVES(write(fd[1], "one", 3), 3);
	GIVES(write(fd[1], "two", 3), 3);
	OK(ioctl(fd[0], FIONREAD, &n));
	IS(n, 6);
	GIVES(read(fd[0], text, 4), 4);
	TEXT(text, "onet");
	GIVES(read(fd[0], text, 16), 2);
	OK(close(fd[1]));
	GIVES(read(fd[0], text, 16), 0);
	FAILS(read(fd[1], text, 1), EBADF);
	OK(pipe2(fd, O_CLOEXEC));
	FAILS(write(fd[0], text, 1), EBADF);
	FAILS(read(fd[1], text, 1), EBADF);
	IS(fcntl(fd[0], F_GETFD), FD_CLOEXEC);
	FAILS(pipe2(fd, 0x7fffffff), EINVAL);
}

static void without_waiting(void)
{
	char block[PIPE_BUF] = { 0 };
	int fd[2];
	ssize_t sum = 0, n;

	OK(pipe2(fd, O_NONBLOCK));
	FAILS(read(fd[0], block, 1), EAGAIN);
	while ((n = write(fd[1], block, sizeof(block))) > 0)
		sum += n;
	IS(errno, EAGAIN);
	IS(sum, 65536);
	/* A write of up to PIPE_BUF bytes is atomic. */
	GIVES(read(fd[0], block, 10), 10);
	FAILS(write(fd[1], block, 11), EAGAIN);
	for (sum -= 10; (n = read(fd[0], block, sizeof(block))) > 0;)
		sum -= n;
	IS(sum, 0);
}

static void size(void)
{
	int fd[2];

	OK(pipe(fd));
	IS(fcntl(fd[0], F_GETPIPE_SZ), 65536);
	GIVES(fcntl(fd[0], F_SETPIPE_SZ, 131072), 131072);
	IS(fcntl(fd[1], F_GETPIPE_SZ), 131072);
	IS(fpathconf(fd[0], _PC_PIPE_BUF), PIPE_BUF);
}

static void *write_much(void *arg)
{
	char text[5000];

	for (int i = 0; i < 400; i++) {
		memset(text, i, sizeof(text));
		GIVES(write(*(int *)arg, text, sizeof(text)), sizeof(text));
	}
	OK(close(*(int *)arg));
	return arg;
}

static void between_threads(void)
{
	char text[777];
	pthread_t thread;
	long place = 0;
	ssize_t n;
	int fd[2];

	OK(pipe(fd));
	thread = start_thread(write_much, &fd[1]);
	while ((n = OK(read(fd[0], text, sizeof(text)))) > 0)
		for (ssize_t i = 0; i < n; i++, place++)
			if (text[i] != (char)(place / 5000))
				check_failed("a byte", "as it was written", "another");
	IS(place, 2000000);
	join_thread(thread);
}

static void *open_fifo(void *arg)
{
	int fd = OK(open("fifo", O_WRONLY));

	GIVES(write(fd, "through", 7), 7);
	OK(close(fd));
	return arg;
}

static void by_name(void)
{
	pthread_t thread;
	char text[16] = "";
	int fd;

	OK(mkfifo("fifo", 0666));
	FAILS(mkfifo("fifo", 0666), EEXIST);
	FAILS(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO);
	thread = start_thread(open_fifo, NULL);
	fd = OK(open("fifo", O_RDONLY));
	GIVES(read(fd, text, 16), 7);
	TEXT(text, "through");
	GIVES(read(fd, text, 16), 0);
	join_thread(thread);
}

/*
 * Threads pass a token around many pairs of pipes. A lost wake-up would stop
 * it.
 */
static int ring[20][2];

static void *pass_token(void *arg)
{
	long own = (long)arg;
	char byte;

	for (int i = 0; i < 300; i++) {
		GIVES(read(ring[own][0], &byte, 1), 1);
		GIVES(write(ring[(own + 1) % 20][1], &byte, 1), 1);
	}
	return arg;
}

static void in_a_ring(void)
{
	pthread_t threads[20];

	for (int i = 0; i < 20; i++)
		OK(pipe(ring[i]));
	for (long i = 0; i < 20; i++)
		threads[i] = start_small_thread(pass_token, (void *)i);
	GIVES(write(ring[0][1], "x", 1), 1);
	for (int i = 0; i < 20; i++)
		join_thread(threads[i]);
}

const struct check pipe_checks[] = {
	{ "pipe_carries_bytes", carries_bytes },
	{ "pipe_without_waiting", without_waiting },
	{ "pipe_size", size },
	{ "pipe_between_threads", between_threads },
	{ "pipe_by_name", by_name },
	{ "pipe_in_a_ring", in_a_ring },
	{ 0 }
};

static void polls(void)
{
	struct pollfd p[4];
	int fd[2], file = OK(open("file", O_RDWR | O_CREAT, 0666));

	OK(pipe(fd));
	p[0] = (struct pollfd){ fd[0], POLLIN, 0 };
	p[1] = (struct pollfd){ fd[1], POLLOUT, 0 };
	p[2] = (struct pollfd){ -1, POLLIN, 77 };
	p[3] = (struct pollfd){ 999, POLLIN, 0 };
	GIVES(poll(p, 4, 0), 2);
	IS(p[0].revents, 0);
	IS(p[1].revents, POLLOUT);
	IS(p[2].revents, 0);
	IS(p[3].revents, POLLNVAL);
	GIVES(write(fd[1], "x", 1), 1);
	GIVES(poll(p, 1, -1), 1);
	IS(p[0].revents, POLLIN);
	OK(close(fd[1]));
	GIVES(poll(p, 1, -1), 1);
	IS(p[0].revents, POLLIN | POLLHUP);
	OK(pipe(fd));
	OK(close(fd[0]));
	p[1] = (struct pollfd){ fd[1], POLLOUT, 0 };
	GIVES(poll(p + 1, 1, -1), 1);
	IS(p[1].revents, POLLOUT | POLLERR);
	p[0] = (struct pollfd){ file, POLLIN | POLLOUT, 0 };
	GIVES(poll(p, 1, 0), 1);
	IS(p[0].revents, POLLIN | POLLOUT);
}

static void times_out(void)
{
	struct timespec t = { 0, 20000000 };
	struct timeval v = { 0, 20000 };
	int64_t begin = now_ns();

	GIVES(poll(NULL, 0, 20), 0);
	GIVES(ppoll(NULL, 0, &t, NULL), 0);
	GIVES(select(0, NULL, NULL, NULL, &v), 0);
	GIVES(pselect(0, NULL, NULL, NULL, &t, NULL), 0);
	TRUE(now_ns() - begin >= 75000000);
	t.tv_nsec = -1;
	FAILS(ppoll(NULL, 0, &t, NULL), EINVAL);
}

static void selects(void)
{
	fd_set in, out, wrong;
	struct timeval none = { 0, 0 };
	int fd[2];

	OK(pipe(fd));
	GIVES(write(fd[1], "x", 1), 1);
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&wrong);
	FD_SET(fd[0], &in);
	FD_SET(fd[1], &out);
	FD_SET(fd[0], &wrong);
	GIVES(select(fd[1] + 1, &in, &out, &wrong, NULL), 2);
	TRUE(FD_ISSET(fd[0], &in) && FD_ISSET(fd[1], &out) && !FD_ISSET(fd[0], &wrong));
	FD_ZERO(&in);
	FD_SET(fd[1], &in);
	GIVES(select(fd[1] + 1, &in, NULL, NULL, &none), 0);
	TRUE(!FD_ISSET(fd[1], &in));
	FD_ZERO(&in);
	FD_SET(fd[0], &in);
	OK(close(fd[0]));
	FAILS(select(fd[0] + 1, &in, NULL, NULL, &none), EBADF);
	FAILS(select(-1, NULL, NULL, NULL, &none), EINVAL);
}

static volatile int count;

static void count_signal(int sig)
{
	(void)sig;
	count++;
}

/* A blocked signal is delivered only during the wait. */
static void with_mask(void)
{
	sigset_t set = signal_set(SIGUSR1), none;
	struct timespec t = { 20, 0 };

	count = 0;
	sigemptyset(&none);
	set_handler(SIGUSR1, count_signal, SA_RESTART);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	raise(SIGUSR1);
	FAILS(ppoll(NULL, 0, &t, &none), EINTR);
	IS(count, 1);
	raise(SIGUSR1);
	FAILS(pselect(0, NULL, NULL, NULL, &t, &none), EINTR);
	IS(count, 2);
	OK(sigprocmask(SIG_BLOCK, NULL, &set));
	IS(sigismember(&set, SIGUSR1), 1);
}

const struct check poll_checks[] = {
	{ "poll_tells", polls },
	{ "poll_times_out", times_out },
	{ "poll_select", selects },
	{ "poll_with_mask", with_mask },
	{ 0 }
};
