/* SPDX-License-Identifier: MPL-2.0 */
/* Cancellation of threads and its cancellation points. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static volatile pid_t tid;
static volatile int cleaned;

static void append_cleanup(void *arg)
{
	cleaned = cleaned * 10 + (int)(long)arg;
}

/* Starts a thread, waits until it sleeps in its call, cancels and joins it. */
static void cancel_asleep(void *(*run)(void *), void *arg)
{
	pthread_t thread;

	tid = 0;
	cleaned = 0;
	thread = start_thread(run, arg);
	wait_until_asleep(&tid);
	ZERO(pthread_cancel(thread));
	TRUE(join_thread(thread) == PTHREAD_CANCELED);
	IS(cleaned, 1);
}

/* Defines a thread function that makes one call, which blocks forever. */
#define SLEEPER(name, call)                                            \
	static void *name(void *arg)                                   \
	{                                                              \
		long fd = (long)arg;                                   \
		(void)fd;                                              \
		pthread_cleanup_push(append_cleanup, (void *)1);                \
		tid = thread_id();                                     \
		call;                                                  \
		pthread_cleanup_pop(0);                                \
		return NULL;                                           \
	}

static char byte;
static sem_t semaphore;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

SLEEPER(in_read, (void)!read(fd, &byte, 1))
SLEEPER(in_recv, recv(fd, &byte, 1, 0))
SLEEPER(in_accept, accept(fd, NULL, NULL))
SLEEPER(in_poll, poll(NULL, 0, -1))
SLEEPER(in_sleep, sleep(1000))
SLEEPER(in_pause, pause())
SLEEPER(in_sem_wait, sem_wait(&semaphore))

static void *in_epoll(void *arg)
{
	struct epoll_event event;

	pthread_cleanup_push(append_cleanup, (void *)1);
	tid = thread_id();
	epoll_wait((int)(long)arg, &event, 1, -1);
	pthread_cleanup_pop(0);
	return NULL;
}

static void *in_sigwait(void *arg)
{
	sigset_t set = signal_set(SIGUSR2);
	int sig;

	pthread_cleanup_push(append_cleanup, (void *)1);
	tid = thread_id();
	sigwait(&set, &sig);
	pthread_cleanup_pop(0);
	return arg;
}

static void in_blocking_calls(void)
{
	int pipes[2], pair[2], listener, epoll;

	OK(pipe(pipes));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	listener = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(listen(listener, 1));
	epoll = OK(epoll_create1(0));
	OK(sem_init(&semaphore, 0, 0));
	cancel_asleep(in_read, (void *)(long)pipes[0]);
	cancel_asleep(in_recv, (void *)(long)pair[0]);
	cancel_asleep(in_accept, (void *)(long)listener);
	cancel_asleep(in_poll, NULL);
	cancel_asleep(in_epoll, (void *)(long)epoll);
	cancel_asleep(in_sleep, NULL);
	cancel_asleep(in_pause, NULL);
	cancel_asleep(in_sem_wait, NULL);
	cancel_asleep(in_sigwait, NULL);
}

/* A cancelled wait locks the mutex again before the cleanup handler runs. */
static void unlock(void *arg)
{
	cleaned = pthread_mutex_unlock(arg) == 0;
}

static void *in_cond_wait(void *arg)
{
	pthread_mutex_lock(&lock);
	pthread_cleanup_push(unlock, &lock);
	tid = thread_id();
	for (;;)
		pthread_cond_wait(&condition, &lock);
	pthread_cleanup_pop(1);
	return arg;
}

static void in_condition(void)
{
	cancel_asleep(in_cond_wait, NULL);
	ZERO(pthread_mutex_trylock(&lock));
	ZERO(pthread_mutex_unlock(&lock));
}

static void *in_join(void *arg)
{
	pthread_cleanup_push(append_cleanup, (void *)1);
	tid = thread_id();
	pthread_join(*(pthread_t *)arg, NULL);
	pthread_cleanup_pop(0);
	return NULL;
}

static void *wait_for_post(void *arg)
{
	sem_wait(arg);
	return arg;
}

static void joining(void)
{
	sem_t end;
	pthread_t thread;

	OK(sem_init(&end, 0, 0));
	thread = start_thread(wait_for_post, &end);
	cancel_asleep(in_join, &thread);
	OK(sem_post(&end));
	TRUE(join_thread(thread) == &end);
}

static void *never_cancelled(void *arg)
{
	int before;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	tid = thread_id();
	sem_wait(&semaphore);
	pthread_testcancel();
	cleaned = before == PTHREAD_CANCEL_ENABLE;
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	pthread_testcancel();
	return arg;
}

static void disabled(void)
{
	pthread_t thread;

	OK(sem_init(&semaphore, 0, 0));
	tid = 0;
	cleaned = 0;
	thread = start_thread(never_cancelled, &semaphore);
	wait_until_asleep(&tid);
	ZERO(pthread_cancel(thread));
	OK(sem_post(&semaphore));
	TRUE(join_thread(thread) == PTHREAD_CANCELED);
	IS(cleaned, 1);
}

static void *nested(void *arg)
{
	pthread_cleanup_push(append_cleanup, (void *)1);
	pthread_cleanup_push(append_cleanup, (void *)2);
	pthread_cleanup_push(append_cleanup, (void *)3);
	pthread_cleanup_pop(1);
	pthread_exit(arg);
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return NULL;
}

static void handlers_in_order(void)
{
	cleaned = 0;
	TRUE(join_thread(start_thread(nested, &lock)) == &lock);
	IS(cleaned, 321);
}

static pthread_key_t key;

static void destroy_key_value(void *arg)
{
	append_cleanup(arg);
}

static void *pause_with_key(void *arg)
{
	pthread_setspecific(key, (void *)2);
	return in_pause(arg);
}

/* Cleanup handlers run before the destructors of thread-specific data. */
static void destructors_after_handlers(void)
{
	pthread_t thread;

	ZERO(pthread_key_create(&key, destroy_key_value));
	tid = 0;
	cleaned = 0;
	thread = start_thread(pause_with_key, NULL);
	wait_until_asleep(&tid);
	ZERO(pthread_cancel(thread));
	TRUE(join_thread(thread) == PTHREAD_CANCELED);
	IS(cleaned, 12);
	ZERO(pthread_key_delete(key));
}

static void *yielding(void *arg)
{
	int before;

	pthread_cleanup_push(append_cleanup, (void *)1);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
	tid = before == PTHREAD_CANCEL_DEFERRED ? thread_id() : 0;
	for (;;)
		sched_yield();
	pthread_cleanup_pop(0);
	return arg;
}

static void asynchronous(void)
{
	pthread_t thread;

	tid = 0;
	cleaned = 0;
	thread = start_thread(yielding, NULL);
	SOON(tid != 0);
	ZERO(pthread_cancel(thread));
	TRUE(join_thread(thread) == PTHREAD_CANCELED);
	IS(cleaned, 1);
}

/* Exactly the bytes written before the cancellation arrive. */
static void *filling(void *arg)
{
	char block[4096] = { 0 };

	tid = thread_id();
	for (;;)
		(void)!write((int)(long)arg, block, sizeof(block));
	return NULL;
}

static void in_write(void)
{
	int fd[2];
	pthread_t thread;
	char block[4096];
	ssize_t n, sum = 0;

	OK(pipe(fd));
	tid = 0;
	thread = start_thread(filling, (void *)(long)fd[1]);
	wait_until_asleep(&tid);
	ZERO(pthread_cancel(thread));
	TRUE(join_thread(thread) == PTHREAD_CANCELED);
	OK(close(fd[1]));
	while ((n = OK(read(fd[0], block, sizeof(block)))) > 0)
		sum += n;
	IS(sum, fcntl(fd[0], F_GETPIPE_SZ));
}

/* After a cancelled routine pthread_once runs it again. */
static pthread_once_t control = PTHREAD_ONCE_INIT;
static int tries;

static void pausing_once(void)
{
	if (tries++ == 0) {
		tid = thread_id();
		pause();
	}
}

static void *call_once(void *arg)
{
	pthread_once(&control, pausing_once);
	return arg;
}

static void once(void)
{
	pthread_t thread;

	tid = 0;
	thread = start_thread(call_once, NULL);
	wait_until_asleep(&tid);
	ZERO(pthread_cancel(thread));
	TRUE(join_thread(thread) == PTHREAD_CANCELED);
	TRUE(join_thread(start_thread(call_once, &control)) == &control);
	IS(tries, 2);
}

const struct check cancel_checks[] = {
	{ "cancel_in_blocking_calls", in_blocking_calls },
	{ "cancel_in_write", in_write },
	{ "cancel_in_condition", in_condition },
	{ "cancel_in_join", joining },
	{ "cancel_disabled", disabled },
	{ "cancel_handlers_in_order", handlers_in_order },
	{ "cancel_destructors_after_handlers", destructors_after_handlers },
	{ "cancel_asynchronous", asynchronous },
	{ "cancel_once", once },
	{ 0 }
};
