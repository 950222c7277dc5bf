/* SPDX-License-Identifier: MPL-2.0 */
/* Condition variables, reader-writer locks and C11 threads. */
#define _GNU_SOURCE
#include "check.h"

#include <sched.h>
#include <threads.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int waiting, tokens, taken;

static void *take_token(void *arg)
{
	pthread_mutex_lock(&lock);
	waiting++;
	while (!tokens)
		pthread_cond_wait(&changed, &lock);
	tokens--;
	taken++;
	pthread_mutex_unlock(&lock);
	return arg;
}

static int read_locked(const int *value)
{
	int seen;

	pthread_mutex_lock(&lock);
	seen = *value;
	pthread_mutex_unlock(&lock);
	return seen;
}

static void reset_counters(void)
{
	waiting = tokens = taken = 0;
}

static void add_tokens(int n, bool all)
{
	pthread_mutex_lock(&lock);
	tokens += n;
	if (all)
		pthread_cond_broadcast(&changed);
	else
		pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

static void signal_wakes(void)
{
	pthread_t threads[5];

	reset_counters();
	for (int i = 0; i < 5; i++)
		threads[i] = start_small_thread(take_token, NULL);
	SOON(read_locked(&waiting) == 5);
	for (int i = 1; i <= 5; i++) {
		add_tokens(1, false);
		SOON(read_locked(&taken) == i);
	}
	for (int i = 0; i < 5; i++)
		join_thread(threads[i]);
}

static void broadcast_wakes_all(void)
{
	pthread_t threads[20];

	reset_counters();
	for (int i = 0; i < 20; i++)
		threads[i] = start_small_thread(take_token, NULL);
	SOON(read_locked(&waiting) == 20);
	add_tokens(20, true);
	for (int i = 0; i < 20; i++)
		join_thread(threads[i]);
	IS(taken, 20);
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

static void timed_wait(clockid_t clock)
{
	pthread_condattr_t attr;
	pthread_cond_t cond;
	struct timespec t;
	int64_t begin;

	pthread_condattr_init(&attr);
	ZERO(pthread_condattr_setclock(&attr, clock));
	ZERO(pthread_cond_init(&cond, &attr));
	pthread_mutex_lock(&lock);
	begin = now_ns();
	t = in_ms(clock, 40);
	ERROR(pthread_cond_timedwait(&cond, &lock, &t), ETIMEDOUT);
	TRUE(now_ns() - begin >= 35000000);
	ERROR(pthread_cond_timedwait(&cond, &lock, &t), ETIMEDOUT);
	t.tv_nsec = -1;
	ERROR(pthread_cond_timedwait(&cond, &lock, &t), EINVAL);
	ERROR(pthread_mutex_trylock(&lock), EBUSY);
	pthread_mutex_unlock(&lock);
	ZERO(pthread_cond_destroy(&cond));
}

static void timed_real(void)
{
	timed_wait(CLOCK_REALTIME);
}

static void timed_monotonic(void)
{
	timed_wait(CLOCK_MONOTONIC);
}

/* Two threads pass a token back and forth. */
static int ball;

static void *pass_ball(void *arg)
{
	long own = (long)arg, turns = 0;

	pthread_mutex_lock(&lock);
	while (turns < 2000) {
		while (ball != own)
			pthread_cond_wait(&changed, &lock);
		turns++;
		ball = !own;
		pthread_cond_signal(&changed);
	}
	pthread_mutex_unlock(&lock);
	return (void *)turns;
}

static void ping_pong(void)
{
	pthread_t one = start_thread(pass_ball, (void *)0);
	pthread_t two = start_thread(pass_ball, (void *)1);

	IS((long)join_thread(one) + (long)join_thread(two), 4000);
}

const struct check cond_checks[] = {
	{ "cond_signal", signal_wakes },
	{ "cond_broadcast", broadcast_wakes_all },
	{ "cond_timed_real", timed_real },
	{ "cond_timed_monotonic", timed_monotonic },
	{ "cond_ping_pong", ping_pong },
	{ 0 }
};

static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;

static void *try_read_and_write(void *arg)
{
	long result = 0;

	(void)arg;
	if (pthread_rwlock_tryrdlock(&rw) == 0) {
		result |= 1;
		pthread_rwlock_unlock(&rw);
	}
	if (pthread_rwlock_trywrlock(&rw) == 0) {
		result |= 2;
		pthread_rwlock_unlock(&rw);
	}
	return (void *)result;
}

static void readers_share(void)
{
	ZERO(pthread_rwlock_rdlock(&rw));
	IS((long)join_thread(start_thread(try_read_and_write, NULL)), 1);
	ZERO(pthread_rwlock_unlock(&rw));
	IS((long)join_thread(start_thread(try_read_and_write, NULL)), 3);
}

static void *wait_timed(void *arg)
{
	struct timespec t = in_ms(CLOCK_REALTIME, 20);
	int reading = pthread_rwlock_timedrdlock(&rw, &t);

	(void)arg;
	t = in_ms(CLOCK_REALTIME, 20);
	if (reading != pthread_rwlock_timedwrlock(&rw, &t))
		return NULL;
	return (void *)(long)reading;
}

static void writer_is_alone(void)
{
	ZERO(pthread_rwlock_wrlock(&rw));
	IS((long)join_thread(start_thread(try_read_and_write, NULL)), 0);
	IS((long)join_thread(start_thread(wait_timed, NULL)), ETIMEDOUT);
	ZERO(pthread_rwlock_unlock(&rw));
}

static volatile long written[2];

static void *write_both(void *arg)
{
	for (int i = 0; i < 300; i++) {
		pthread_rwlock_wrlock(&rw);
		written[0]++;
		sched_yield();
		written[1]++;
		pthread_rwlock_unlock(&rw);
	}
	return arg;
}

static void *read_both(void *arg)
{
	long torn = 0;

	(void)arg;
	for (int i = 0; i < 300; i++) {
		pthread_rwlock_rdlock(&rw);
		torn += written[0] != written[1];
		pthread_rwlock_unlock(&rw);
		sched_yield();
	}
	return (void *)torn;
}

static void readers_and_writers(void)
{
	pthread_t writers[3], readers[3];

	written[0] = written[1] = 0;
	for (int i = 0; i < 3; i++) {
		writers[i] = start_small_thread(write_both, NULL);
		readers[i] = start_small_thread(read_both, NULL);
	}
	for (int i = 0; i < 3; i++) {
		join_thread(writers[i]);
		IS((long)join_thread(readers[i]), 0);
	}
	IS(written[1], 900);
}

const struct check rwlock_checks[] = {
	{ "rwlock_readers_share", readers_share },
	{ "rwlock_writer_is_alone", writer_is_alone },
	{ "rwlock_readers_and_writers", readers_and_writers },
	{ 0 }
};

static mtx_t c_mutex;
static cnd_t c_condition;
static tss_t c_key;
static once_flag c_flag = ONCE_FLAG_INIT;
static int c_calls, c_destroyed, c_ready;

static void count_call(void)
{
	c_calls++;
}

static void count_destroyed(void *value)
{
	c_destroyed += value == &c_key;
}

static int run_c11_thread(void *arg)
{
	(void)arg;
	call_once(&c_flag, count_call);
	tss_set(c_key, &c_key);
	mtx_lock(&c_mutex);
	while (!c_ready)
		cnd_wait(&c_condition, &c_mutex);
	mtx_unlock(&c_mutex);
	return 5;
}

static void c11(void)
{
	struct timespec t;
	thrd_t thread;
	int result = 0;

	IS(mtx_init(&c_mutex, mtx_plain), thrd_success);
	IS(cnd_init(&c_condition), thrd_success);
	IS(tss_create(&c_key, count_destroyed), thrd_success);
	call_once(&c_flag, count_call);
	mtx_lock(&c_mutex);
	timespec_get(&t, TIME_UTC);
	IS(cnd_timedwait(&c_condition, &c_mutex, &t), thrd_timedout);
	IS(thrd_create(&thread, run_c11_thread, NULL), thrd_success);
	c_ready = 1;
	cnd_broadcast(&c_condition);
	mtx_unlock(&c_mutex);
	IS(thrd_join(thread, &result), thrd_success);
	IS(result, 5);
	IS(c_calls, 1);
	IS(c_destroyed, 1);
}

const struct check c11_checks[] = {
	{ "c11_threads", c11 },
	{ 0 }
};
