/* SPDX-License-Identifier: MPL-2.0 */
/* Mutexes of all types, spin locks, semaphores and barriers. */
#define _GNU_SOURCE
#include "check.h"

#include <sched.h>
#include <semaphore.h>

static pthread_mutex_t mutex;

static void init_mutex(int type, int robust)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	ZERO(pthread_mutexattr_settype(&attr, type));
	ZERO(pthread_mutexattr_setrobust(&attr, robust));
	ZERO(pthread_mutex_init(&mutex, &attr));
	pthread_mutexattr_destroy(&attr);
}

static void *try_mutex(void *arg)
{
	int error = pthread_mutex_trylock(&mutex);

	(void)arg;
	if (error == 0)
		pthread_mutex_unlock(&mutex);
	return (void *)(long)error;
}

static void *unlock_mutex(void *arg)
{
	(void)arg;
	return (void *)(long)pthread_mutex_unlock(&mutex);
}

static void normal(void)
{
	init_mutex(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED);
	ZERO(pthread_mutex_lock(&mutex));
	ERROR(pthread_mutex_trylock(&mutex), EBUSY);
	IS((long)join_thread(start_thread(try_mutex, NULL)), EBUSY);
	ZERO(pthread_mutex_unlock(&mutex));
	IS((long)join_thread(start_thread(try_mutex, NULL)), 0);
	ZERO(pthread_mutex_destroy(&mutex));
}

static void error_checking(void)
{
	init_mutex(PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED);
	ERROR(pthread_mutex_unlock(&mutex), EPERM);
	ZERO(pthread_mutex_lock(&mutex));
	ERROR(pthread_mutex_lock(&mutex), EDEADLK);
	IS((long)join_thread(start_thread(unlock_mutex, NULL)), EPERM);
	ZERO(pthread_mutex_unlock(&mutex));
}

static void recursive(void)
{
	init_mutex(PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED);
	for (int i = 0; i < 10; i++)
		ZERO(pthread_mutex_lock(&mutex));
	ZERO(pthread_mutex_trylock(&mutex));
	IS((long)join_thread(start_thread(unlock_mutex, NULL)), EPERM);
	for (int i = 0; i < 10; i++)
		ZERO(pthread_mutex_unlock(&mutex));
	IS((long)join_thread(start_thread(try_mutex, NULL)), EBUSY);
	ZERO(pthread_mutex_unlock(&mutex));
	IS((long)join_thread(start_thread(try_mutex, NULL)), 0);
	ERROR(pthread_mutex_unlock(&mutex), EPERM);
}

static struct timespec in_ms(clockid_t clock, int ms)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_nsec += ms * 1000000L;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static void timed(void)
{
	struct timespec t = in_ms(CLOCK_REALTIME, 30);
	int64_t begin = now_ns();

	init_mutex(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED);
	ZERO(pthread_mutex_lock(&mutex));
	ERROR(pthread_mutex_timedlock(&mutex, &t), ETIMEDOUT);
	TRUE(now_ns() - begin >= 25000000);
	t.tv_nsec = 1000000000;
	ERROR(pthread_mutex_timedlock(&mutex, &t), EINVAL);
	ZERO(pthread_mutex_unlock(&mutex));
	t = in_ms(CLOCK_REALTIME, 10000);
	ZERO(pthread_mutex_timedlock(&mutex, &t));
	ZERO(pthread_mutex_unlock(&mutex));
}

static void *exit_with_mutex(void *arg)
{
	pthread_mutex_lock(&mutex);
	return arg;
}

static void robust(void)
{
	init_mutex(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
	join_thread(start_thread(exit_with_mutex, NULL));
	ERROR(pthread_mutex_lock(&mutex), EOWNERDEAD);
	ZERO(pthread_mutex_consistent(&mutex));
	ZERO(pthread_mutex_unlock(&mutex));
	ZERO(pthread_mutex_lock(&mutex));
	ZERO(pthread_mutex_unlock(&mutex));
	join_thread(start_thread(exit_with_mutex, NULL));
	ERROR(pthread_mutex_lock(&mutex), EOWNERDEAD);
	ZERO(pthread_mutex_unlock(&mutex));
	ERROR(pthread_mutex_lock(&mutex), ENOTRECOVERABLE);
}

static volatile pid_t waiter;

static void *lock_and_unlock_mutex(void *arg)
{
	int error;

	waiter = thread_id();
	error = pthread_mutex_lock(&mutex);
	if (error == 0)
		pthread_mutex_unlock(&mutex);
	*(volatile bool *)arg = true;
	return (void *)(long)error;
}

static void blocks_and_wakes(void)
{
	volatile bool got = false;
	pthread_t thread;

	init_mutex(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED);
	ZERO(pthread_mutex_lock(&mutex));
	waiter = 0;
	thread = start_thread(lock_and_unlock_mutex, (void *)&got);
	wait_until_asleep(&waiter);
	TRUE(!got);
	ZERO(pthread_mutex_unlock(&mutex));
	IS((long)join_thread(thread), 0);
	TRUE(got);
}

static void inheriting(void)
{
	pthread_mutexattr_t attr;
	volatile bool got = false;
	pthread_t thread;

	pthread_mutexattr_init(&attr);
	ZERO(pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT));
	ZERO(pthread_mutex_init(&mutex, &attr));
	ZERO(pthread_mutex_lock(&mutex));
	waiter = 0;
	thread = start_thread(lock_and_unlock_mutex, (void *)&got);
	wait_until_asleep(&waiter);
	ZERO(pthread_mutex_unlock(&mutex));
	IS((long)join_thread(thread), 0);
}

static long counter;

static void *add(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		long seen;

		pthread_mutex_lock(&mutex);
		seen = counter;
		if (i % 16 == 0)
			sched_yield();
		counter = seen + 1;
		pthread_mutex_unlock(&mutex);
	}
	return arg;
}

static void excludes(void)
{
	pthread_t threads[8];

	init_mutex(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED);
	counter = 0;
	for (int i = 0; i < 8; i++)
		threads[i] = start_small_thread(add, NULL);
	for (int i = 0; i < 8; i++)
		join_thread(threads[i]);
	IS(counter, 16000);
}

static pthread_spinlock_t spin;

static void *add_spinning(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_spin_lock(&spin);
		counter++;
		pthread_spin_unlock(&spin);
	}
	return arg;
}

static void spinning(void)
{
	pthread_t threads[4];

	ZERO(pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE));
	ZERO(pthread_spin_lock(&spin));
	ERROR(pthread_spin_trylock(&spin), EBUSY);
	ZERO(pthread_spin_unlock(&spin));
	counter = 0;
	for (int i = 0; i < 4; i++)
		threads[i] = start_small_thread(add_spinning, NULL);
	for (int i = 0; i < 4; i++)
		join_thread(threads[i]);
	IS(counter, 8000);
}

static sem_t semaphore;

static void *take_semaphore(void *arg)
{
	waiter = thread_id();
	for (int i = 0; i < 3; i++)
		OK(sem_wait(&semaphore));
	return arg;
}

static void semaphores(void)
{
	struct timespec t;
	pthread_t thread;
	int value = -1;

	OK(sem_init(&semaphore, 0, 2));
	OK(sem_wait(&semaphore));
	OK(sem_trywait(&semaphore));
	FAILS(sem_trywait(&semaphore), EAGAIN);
	t = in_ms(CLOCK_REALTIME, 20);
	FAILS(sem_timedwait(&semaphore, &t), ETIMEDOUT);
	waiter = 0;
	thread = start_thread(take_semaphore, NULL);
	for (int i = 0; i < 3; i++) {
		wait_until_asleep(&waiter);
		OK(sem_post(&semaphore));
	}
	join_thread(thread);
	OK(sem_getvalue(&semaphore, &value));
	IS(value, 0);
	OK(sem_destroy(&semaphore));
}

static pthread_barrier_t barrier;
static int phase[5];

static void *pass_barrier(void *arg)
{
	long serial = 0;

	for (int round = 1; round <= 50; round++) {
		phase[(long)arg] = round;
		if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
			serial++;
		for (int i = 0; i < 5; i++)
			if (phase[i] < round)
				return (void *)-1000;
		pthread_barrier_wait(&barrier);
	}
	return (void *)serial;
}

static void barriers(void)
{
	pthread_t threads[5];
	long serial = 0;

	ERROR(pthread_barrier_init(&barrier, NULL, 0), EINVAL);
	ZERO(pthread_barrier_init(&barrier, NULL, 5));
	for (long i = 0; i < 5; i++)
		threads[i] = start_small_thread(pass_barrier, (void *)i);
	for (int i = 0; i < 5; i++)
		serial += (long)join_thread(threads[i]);
	IS(serial, 50);
	ZERO(pthread_barrier_destroy(&barrier));
}

const struct check mutex_checks[] = {
	{ "mutex_normal", normal },
	{ "mutex_error_checking", error_checking },
	{ "mutex_recursive", recursive },
	{ "mutex_timed", timed },
	{ "mutex_robust", robust },
	{ "mutex_blocks_and_wakes", blocks_and_wakes },
	{ "mutex_inheriting", inheriting },
	{ "mutex_excludes", excludes },
	{ "mutex_spinning", spinning },
	{ "semaphore", semaphores },
	{ "barrier", barriers },
	{ 0 }
};
