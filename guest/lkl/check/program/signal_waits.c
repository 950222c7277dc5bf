/* SPDX-License-Identifier: MPL-2.0 */
/* Waits for signals, interrupted calls, and signals among threads. */
#define _GNU_SOURCE
#include "check.h"

#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>

static volatile int count, last;
static volatile pid_t handled_by, tid;

static void count_signal(int sig)
{
	count++;
	last = sig;
	handled_by = thread_id();
}

static void block_signal(int sig)
{
	sigset_t set = signal_set(sig);

	ZERO(pthread_sigmask(SIG_BLOCK, &set, NULL));
}

static void wait_one(void)
{
	sigset_t set = signal_set(SIGUSR1);
	int sig = 0;

	block_signal(SIGUSR1);
	raise(SIGUSR1);
	ZERO(sigwait(&set, &sig));
	IS(sig, SIGUSR1);
	sigpending(&set);
	IS(sigismember(&set, SIGUSR1), 0);
}

static void wait_timed(void)
{
	struct timespec none = { 0, 0 }, some = { 0, 30000000 }, wrong = { 0, -1 };
	sigset_t set = signal_set(SIGUSR1);
	siginfo_t info;
	union sigval v = { .sival_int = 12 };
	int64_t begin;

	block_signal(SIGUSR1);
	FAILS(sigtimedwait(&set, &info, &none), EAGAIN);
	begin = now_ns();
	FAILS(sigtimedwait(&set, &info, &some), EAGAIN);
	TRUE(now_ns() - begin >= 25000000);
	FAILS(sigtimedwait(&set, &info, &wrong), EINVAL);
	OK(sigqueue(getpid(), SIGUSR1, v));
	GIVES(sigtimedwait(&set, &info, &none), SIGUSR1);
	IS(info.si_code, SI_QUEUE);
	IS(info.si_value.sival_int, 12);
}

/* Only an unblocked signal ends the wait, and the old mask is restored. */
static void suspend(void)
{
	sigset_t none, set;

	count = 0;
	set_handler(SIGUSR1, count_signal, 0);
	set_handler(SIGUSR2, count_signal, 0);
	block_signal(SIGUSR1);
	block_signal(SIGUSR2);
	raise(SIGUSR1);
	raise(SIGUSR2);
	sigfillset(&none);
	sigdelset(&none, SIGUSR2);
	FAILS(sigsuspend(&none), EINTR);
	IS(count, 1);
	IS(last, SIGUSR2);
	sigprocmask(SIG_SETMASK, NULL, &set);
	IS(sigismember(&set, SIGUSR1), 1);
	IS(sigismember(&set, SIGUSR2), 1);
	sigpending(&set);
	IS(sigismember(&set, SIGUSR1), 1);
}

/*
 * Sets an alarm every 20 ms. The next call would block forever without it. The first
 * alarm may come before that call, on a busy machine.
 */
static void set_alarm(int flags)
{
	struct itimerval t = { { 0, 20000 }, { 0, 20000 } };

	set_handler(SIGALRM, count_signal, flags);
	OK(setitimer(ITIMER_REAL, &t, NULL));
}

static void interrupts(void)
{
	struct timespec t = { 1000, 0 };
	struct epoll_event event;
	struct pollfd p = { .events = POLLIN };
	int fd[2], pair[2], epoll;
	char byte;
	sem_t s;

	count = 0;
	OK(pipe(fd));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	epoll = OK(epoll_create1(0));
	OK(sem_init(&s, 0, 0));
	p.fd = fd[0];
	set_alarm(0), FAILS(read(fd[0], &byte, 1), EINTR);
	set_alarm(0), FAILS(recv(pair[0], &byte, 1, 0), EINTR);
	set_alarm(0), FAILS(poll(&p, 1, -1), EINTR);
	set_alarm(0), FAILS(poll(NULL, 0, 100000), EINTR);
	set_alarm(0), FAILS(select(0, NULL, NULL, NULL, NULL), EINTR);
	set_alarm(0), FAILS(epoll_wait(epoll, &event, 1, -1), EINTR);
	set_alarm(0), FAILS(nanosleep(&t, NULL), EINTR);
	set_alarm(0), FAILS(sem_wait(&s), EINTR);
	set_alarm(0), FAILS(pause(), EINTR);
	TRUE(count >= 9);
}

/*
 * SA_RESTART does not restart calls with a timeout or on several descriptors.
 */
static void interrupts_even_so(void)
{
	struct timespec t = { 1000, 0 };
	struct epoll_event event;
	int epoll = OK(epoll_create1(0)), fd = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct timeval limit = { 1000, 0 };
	char byte;

	count = 0;
	OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	set_alarm(SA_RESTART), FAILS(poll(NULL, 0, -1), EINTR);
	set_alarm(SA_RESTART), FAILS(select(0, NULL, NULL, NULL, NULL), EINTR);
	set_alarm(SA_RESTART), FAILS(epoll_wait(epoll, &event, 1, -1), EINTR);
	set_alarm(SA_RESTART), FAILS(nanosleep(&t, NULL), EINTR);
	set_alarm(SA_RESTART), FAILS(pause(), EINTR);
	set_alarm(SA_RESTART), FAILS(recv(fd, &byte, 1, 0), EINTR);
	TRUE(count >= 6);
}

static void *write_later(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	SOON(count >= 3);
	(void)!write(*(int *)arg, "x", 1);
	return arg;
}

/* With SA_RESTART the call continues after the handler without EINTR. */
static void restarts(void)
{
	struct itimerval t = { { 0, 5000 }, { 0, 5000 } }, never = { 0 };
	int fd[2], pair[2];
	pthread_t thread;
	char byte = 0;

	OK(pipe(fd));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	set_handler(SIGALRM, count_signal, SA_RESTART);
	count = 0;
	thread = start_thread(write_later, &fd[1]);
	OK(setitimer(ITIMER_REAL, &t, NULL));
	GIVES(read(fd[0], &byte, 1), 1);
	OK(setitimer(ITIMER_REAL, &never, NULL));
	join_thread(thread);
	count = 0;
	thread = start_thread(write_later, &pair[1]);
	OK(setitimer(ITIMER_REAL, &t, NULL));
	GIVES(recv(pair[0], &byte, 1, 0), 1);
	IS(byte, 'x');
	OK(setitimer(ITIMER_REAL, &never, NULL));
	join_thread(thread);
}

/* An interrupted write returns the number of bytes already written. */
static void short_write(void)
{
	static char block_signal[1 << 20];
	int fd[2];
	ssize_t n;

	OK(pipe(fd));
	set_alarm(0);
	n = OK(write(fd[1], block_signal, sizeof(block_signal)));
	TRUE(n > 0 && n < (ssize_t)sizeof(block_signal));
	set_alarm(0);
	FAILS(write(fd[1], block_signal, sizeof(block_signal)), EINTR);
}

const struct check signal_wait_checks[] = {
	{ "signal_wait", wait_one },
	{ "signal_wait_timed", wait_timed },
	{ "signal_suspend", suspend },
	{ "signal_interrupts", interrupts },
	{ "signal_interrupts_even_so", interrupts_even_so },
	{ "signal_restarts", restarts },
	{ "signal_short_write", short_write },
	{ 0 }
};

static volatile bool leave;

static void *wait_until_left(void *arg)
{
	tid = thread_id();
	while (!leave)
		sleep_ms(1);
	return arg;
}

static void to_a_thread(void)
{
	pthread_t thread;

	count = tid = 0;
	leave = false;
	set_handler(SIGUSR1, count_signal, 0);
	thread = start_thread(wait_until_left, NULL);
	SOON(tid != 0);
	ZERO(pthread_kill(thread, SIGUSR1));
	SOON(count == 1);
	IS(handled_by == tid, true);
	ZERO(pthread_kill(thread, 0));
	ERROR(pthread_kill(thread, 99), EINVAL);
	OK(syscall(SYS_tgkill, getpid(), tid, SIGUSR1));
	SOON(count == 2);
	IS(handled_by == tid, true);
	FAILS(syscall(SYS_tgkill, getpid(), 0x3ffffff, SIGUSR1), ESRCH);
	leave = true;
	join_thread(thread);
}

/* A signal to the process goes to a thread that does not block it. */
static void to_whoever_takes_it(void)
{
	pthread_t thread;

	count = tid = 0;
	leave = false;
	set_handler(SIGUSR1, count_signal, 0);
	thread = start_thread(wait_until_left, NULL);
	SOON(tid != 0);
	block_signal(SIGUSR1);
	OK(kill(getpid(), SIGUSR1));
	SOON(count == 1);
	IS(handled_by == tid, true);
	leave = true;
	join_thread(thread);
}

static void *read_mask(void *arg)
{
	sigset_t own;

	pthread_sigmask(SIG_SETMASK, NULL, &own);
	*(bool *)arg = sigismember(&own, SIGUSR1);
	sigfillset(&own);
	pthread_sigmask(SIG_SETMASK, &own, NULL);
	return arg;
}

static void mask_is_inherited(void)
{
	bool blocked = false;
	sigset_t own;

	block_signal(SIGUSR1);
	join_thread(start_thread(read_mask, &blocked));
	TRUE(blocked);
	pthread_sigmask(SIG_SETMASK, NULL, &own);
	IS(sigismember(&own, SIGUSR2), 0);
}

static void *wait_for_both(void *arg)
{
	sigset_t set = signal_set(SIGRTMIN + 4);
	siginfo_t info;
	long sum = 0;

	(void)arg;
	for (int i = 0; i < 25; i++) {
		/* Another thread has taken the signal that woke this one. */
		while (sigwaitinfo(&set, &info) == -1 && errno == EINTR)
			;
		sum += info.si_value.sival_int;
	}
	return (void *)sum;
}

/* Four threads wait for a hundred signals, and each is taken once. */
static void each_is_taken_once(void)
{
	pthread_t threads[4];
	long sum = 0;

	block_signal(SIGRTMIN + 4);
	for (int i = 0; i < 4; i++)
		threads[i] = start_small_thread(wait_for_both, NULL);
	for (int i = 1; i <= 100; i++)
		OK(sigqueue(getpid(), SIGRTMIN + 4, (union sigval){ .sival_int = i }));
	for (int i = 0; i < 4; i++)
		sum += (long)join_thread(threads[i]);
	IS(sum, 5050);
}

static void *send_many_signals(void *arg)
{
	for (int i = 0; i < 500; i++) {
		pthread_kill(*(pthread_t *)arg, SIGUSR1);
		if (i % 10 == 0)
			sleep_ms(1);
	}
	return arg;
}

/* Frequent signals to a thread that computes and makes calls lose nothing. */
static void under_fire(void)
{
	pthread_t self = pthread_self(), thread;
	long sum = 0;
	int fd[2];

	count = 0;
	set_handler(SIGUSR1, count_signal, SA_RESTART);
	OK(pipe(fd));
	thread = start_thread(send_many_signals, &self);
	for (int i = 0; i < 2000; i++) {
		char byte = (char)i;

		GIVES(write(fd[1], &byte, 1), 1);
		GIVES(read(fd[0], &byte, 1), 1);
		IS(byte, (char)i);
		sum += i;
	}
	join_thread(thread);
	IS(sum, 1999000);
	TRUE(count > 0);
}

const struct check signal_thread_checks[] = {
	{ "signal_to_a_thread", to_a_thread },
	{ "signal_to_whoever_takes_it", to_whoever_takes_it },
	{ "signal_mask_is_inherited", mask_is_inherited },
	{ "signal_each_is_taken_once", each_is_taken_once },
	{ "signal_under_fire", under_fire },
	{ 0 }
};
