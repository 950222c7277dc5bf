/* SPDX-License-Identifier: MPL-2.0 */
/* epoll, eventfd, timerfd, signalfd and inotify. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

static void epoll_add(int epoll, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.fd = fd };

	OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e));
}

static void by_level(void)
{
	struct epoll_event e = { .events = EPOLLOUT }, got[4];
	int epoll = OK(epoll_create1(EPOLL_CLOEXEC)), fd[2];

	OK(pipe(fd));
	epoll_add(epoll, fd[0], EPOLLIN);
	GIVES(epoll_wait(epoll, got, 4, 0), 0);
	GIVES(write(fd[1], "xy", 2), 2);
	for (int i = 0; i < 2; i++) {
		GIVES(epoll_wait(epoll, got, 4, -1), 1);
		IS(got[0].events, EPOLLIN);
		TRUE(got[0].data.fd == fd[0]);
	}
	FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, fd[0], &e), EEXIST);
	FAILS(epoll_ctl(epoll, EPOLL_CTL_MOD, fd[1], &e), ENOENT);
	FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &e), EINVAL);
	FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, OK(open("f", O_RDWR | O_CREAT, 0666)), &e), EPERM);
	FAILS(epoll_wait(epoll, got, 0, 0), EINVAL);
	FAILS(epoll_wait(fd[0], got, 1, 0), EINVAL);
	OK(epoll_ctl(epoll, EPOLL_CTL_DEL, fd[0], NULL));
	GIVES(epoll_wait(epoll, got, 4, 0), 0);
}

static void by_edge(void)
{
	struct epoll_event got[4], e = { .events = EPOLLIN | EPOLLONESHOT };
	int epoll = OK(epoll_create1(0)), fd[2];
	char byte;

	OK(pipe(fd));
	epoll_add(epoll, fd[0], EPOLLIN | EPOLLET);
	GIVES(write(fd[1], "x", 1), 1);
	GIVES(epoll_wait(epoll, got, 4, -1), 1);
	GIVES(epoll_wait(epoll, got, 4, 0), 0);
	GIVES(write(fd[1], "y", 1), 1);
	GIVES(epoll_wait(epoll, got, 4, -1), 1);
	OK(epoll_ctl(epoll, EPOLL_CTL_MOD, fd[0], &e));
	GIVES(epoll_wait(epoll, got, 4, -1), 1);
	GIVES(epoll_wait(epoll, got, 4, 0), 0);
	GIVES(read(fd[0], &byte, 1), 1);
	OK(epoll_ctl(epoll, EPOLL_CTL_MOD, fd[0], &e));
	GIVES(epoll_wait(epoll, got, 4, -1), 1);
	OK(close(fd[1]));
	OK(epoll_ctl(epoll, EPOLL_CTL_MOD, fd[0], &e));
	GIVES(epoll_wait(epoll, got, 4, -1), 1);
	IS(got[0].events, EPOLLIN | EPOLLHUP);
}

/* An epoll set inside another, and the close of a descriptor inside a set. */
static void within(void)
{
	int outer = OK(epoll_create1(0)), inner = OK(epoll_create1(0)), fd[2];
	struct epoll_event got[4];

	OK(pipe(fd));
	epoll_add(outer, inner, EPOLLIN);
	epoll_add(inner, fd[0], EPOLLIN);
	GIVES(epoll_wait(outer, got, 4, 0), 0);
	GIVES(write(fd[1], "x", 1), 1);
	GIVES(epoll_wait(outer, got, 4, -1), 1);
	TRUE(got[0].data.fd == inner);
	OK(close(fd[0]));
	GIVES(epoll_wait(inner, got, 4, 0), 0);
}

static int epoll_shared;

static void *take_counts(void *arg)
{
	struct epoll_event got;
	long taken = 0;

	(void)arg;
	for (;;) {
		uint64_t n;

		GIVES(epoll_wait(epoll_shared, &got, 1, -1), 1);
		if (got.data.fd == -1)
			return (void *)taken;
		if (read(got.data.fd, &n, 8) == 8)
			taken += (long)n;
	}
}

static void many_waiters(void)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = -1 };
	int counter = OK(eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE)), end = OK(eventfd(0, 0));
	uint64_t n = 500, one = 1;
	pthread_t threads[6];
	long sum = 0;

	epoll_shared = OK(epoll_create1(0));
	epoll_add(epoll_shared, counter, EPOLLIN | EPOLLEXCLUSIVE);
	for (int i = 0; i < 6; i++)
		threads[i] = start_small_thread(take_counts, NULL);
	for (int i = 0; i < 10; i++) {
		GIVES(write(counter, &n, 8), 8);
		sleep_ms(1);
	}
	/* The counter must be empty before the event that ends the threads. */
	SOON(read(counter, &n, 8) == -1);
	OK(epoll_ctl(epoll_shared, EPOLL_CTL_ADD, end, &e));
	GIVES(write(end, &one, 8), 8);
	for (int i = 0; i < 6; i++)
		sum += (long)join_thread(threads[i]);
	TRUE(sum > 4000 && sum <= 5000);
}

static void thousand_descriptors(void)
{
	static int fds[400];
	static struct epoll_event got[400];
	int epoll = OK(epoll_create1(0));
	uint64_t one = 1;

	for (int i = 0; i < 400; i++) {
		fds[i] = OK(eventfd(0, 0));
		epoll_add(epoll, fds[i], EPOLLIN);
	}
	for (int i = 0; i < 400; i += 3)
		GIVES(write(fds[i], &one, 8), 8);
	GIVES(epoll_wait(epoll, got, 400, -1), 134);
}

const struct check epoll_checks[] = {
	{ "epoll_by_level", by_level },
	{ "epoll_by_edge", by_edge },
	{ "epoll_within", within },
	{ "epoll_many_waiters", many_waiters },
	{ "epoll_many_descriptors", thousand_descriptors },
	{ 0 }
};

static void event_counter(void)
{
	int fd = OK(eventfd(3, EFD_NONBLOCK));
	uint64_t n = 4, max = UINT64_MAX - 1;

	GIVES(write(fd, &n, 8), 8);
	GIVES(read(fd, &n, 8), 8);
	IS(n, 7);
	FAILS(read(fd, &n, 8), EAGAIN);
	GIVES(write(fd, &max, 8), 8);
	n = 1;
	FAILS(write(fd, &n, 8), EAGAIN);
	FAILS(read(fd, &n, 4), EINVAL);
	max = UINT64_MAX;
	FAILS(write(fd, &max, 8), EINVAL);
	fd = OK(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
	GIVES(read(fd, &n, 8), 8);
	IS(n, 1);
	GIVES(read(fd, &n, 8), 8);
	FAILS(read(fd, &n, 8), EAGAIN);
	FAILS(eventfd(0, 0x7fffffff), EINVAL);
}

static void timer_descriptor(void)
{
	struct itimerspec t = { { 0, 5000000 }, { 0, 5000000 } }, left;
	int fd = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
	int64_t begin = now_ns();
	uint64_t n = 0, sum = 0;

	FAILS(read(fd, &n, 8), EAGAIN);
	OK(timerfd_settime(fd, 0, &t, NULL));
	OK(fcntl(fd, F_SETFL, 0));
	while (sum < 10) {
		GIVES(read(fd, &n, 8), 8);
		TRUE(n >= 1);
		sum += n;
	}
	TRUE(now_ns() - begin >= 45000000);
	OK(timerfd_gettime(fd, &left));
	IS(left.it_interval.tv_nsec, 5000000);
	t = (struct itimerspec){ .it_value = { 1, 0 } };
	OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, NULL));
	GIVES(read(fd, &n, 8), 8);
	t.it_value.tv_nsec = -1;
	FAILS(timerfd_settime(fd, 0, &t, NULL), EINVAL);
	FAILS(timerfd_create(99, 0), EINVAL);
	FAILS(timerfd_settime(OK(eventfd(0, 0)), 0, &left, NULL), EINVAL);
}

static void signal_descriptor(void)
{
	sigset_t set = signal_set(SIGUSR1), none;
	struct signalfd_siginfo info;
	int fd;

	sigaddset(&set, SIGUSR2);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	fd = OK(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
	FAILS(read(fd, &info, sizeof(info)), EAGAIN);
	raise(SIGUSR2);
	GIVES(read(fd, &info, sizeof(info)), sizeof(info));
	IS(info.ssi_signo, SIGUSR2);
	TRUE(info.ssi_pid == (uint32_t)getpid());
	OK(sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 5 }));
	GIVES(read(fd, &info, sizeof(info)), sizeof(info));
	IS(info.ssi_int, 5);
	sigemptyset(&none);
	OK(signalfd(fd, &none, 0));
	raise(SIGUSR1);
	FAILS(read(fd, &info, sizeof(info)), EAGAIN);
	FAILS(read(fd, &info, 10), EINVAL);
}

const struct check event_checks[] = {
	{ "event_counter", event_counter },
	{ "event_timer", timer_descriptor },
	{ "event_signal", signal_descriptor },
	{ 0 }
};

/* Checks the mask and the name of the next event; mask 0 expects no event. */
static void expect_event(int fd, uint32_t mask, const char *name)
{
	static _Alignas(struct inotify_event) char buffer[4096];
	static ssize_t have, at;
	struct inotify_event *e;

	if (!mask) {
		have = at = 0;
		FAILS(read(fd, buffer, sizeof(buffer)), EAGAIN);
		return;
	}
	if (at >= have) {
		have = OK(read(fd, buffer, sizeof(buffer)));
		at = 0;
	}
	e = (struct inotify_event *)(buffer + at);
	at += sizeof(*e) + e->len;
	IS(e->mask, mask);
	TEXT(e->len ? e->name : "", name);
}

static void changes(void)
{
	int fd = OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)), watch;

	FAILS(inotify_add_watch(fd, "none", IN_CREATE), ENOENT);
	watch = OK(inotify_add_watch(fd, ".", IN_CREATE | IN_DELETE | IN_MODIFY | IN_CLOSE_WRITE |
						      IN_MOVE | IN_ATTRIB));
	expect_event(fd, 0, NULL);
	put_file("file", "text");
	expect_event(fd, IN_CREATE, "file");
	expect_event(fd, IN_MODIFY, "file");
	expect_event(fd, IN_CLOSE_WRITE, "file");
	OK(rename("file", "other"));
	expect_event(fd, IN_MOVED_FROM, "file");
	expect_event(fd, IN_MOVED_TO, "other");
	OK(chmod("other", 0600));
	expect_event(fd, IN_ATTRIB, "other");
	OK(unlink("other"));
	expect_event(fd, IN_DELETE, "other");
	OK(inotify_rm_watch(fd, watch));
	expect_event(fd, IN_IGNORED, "");
	FAILS(inotify_rm_watch(fd, watch), EINVAL);
	put_file("file", "text");
	expect_event(fd, 0, NULL);
	OK(inotify_add_watch(fd, "file", IN_DELETE_SELF | IN_OPEN));
	OK(close(OK(open("file", O_RDONLY))));
	expect_event(fd, IN_OPEN, "");
	OK(unlink("file"));
	expect_event(fd, IN_DELETE_SELF, "");
	expect_event(fd, IN_IGNORED, "");
}

const struct check inotify_checks[] = {
	{ "inotify_changes", changes },
	{ 0 }
};
