/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Linked with --wrap=solo5_clock_wall: the host's wall clock, as the guest reads it, is moved by this program, and nothing
 * else is. Prints how the guest's clocks take it, a line each.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000L
#define NEAR (SECOND / 20)	/* as far as one reading may be from another one on a busy machine */
#define PATIENCE (20 * SECOND)

uint64_t __real_solo5_clock_wall(void);
static volatile int64_t moved;

/* Called from the kernel too. */
__attribute__((target("general-regs-only"))) uint64_t __wrap_solo5_clock_wall(void)
{
	return __real_solo5_clock_wall() + moved;
}

static int64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

static struct timespec spec(int64_t ns)
{
	return (struct timespec){ ns / SECOND, ns % SECOND };
}

static void nap(int64_t ns)
{
	struct timespec t = spec(ns);

	nanosleep(&t, NULL);
}

/* The least of a few readings: the rest is the host, which ran others in between. */
static int64_t behind(void)
{
	int64_t least = INT64_MAX;

	for (int i = 0; i < 5; i++) {
		int64_t d = (int64_t)__wrap_solo5_clock_wall() - now(CLOCK_REALTIME);

		if (llabs(d) < llabs(least))
			least = d;
	}
	return least;
}

/* Wakes now and then until the time of day is as far behind the host's as wanted. */
static void follows(const char *what, int64_t wanted)
{
	int64_t began = now(CLOCK_MONOTONIC);

	while (llabs(behind() - wanted) > NEAR && now(CLOCK_MONOTONIC) - began < PATIENCE)
		nap(SECOND / 100);
	if (llabs(behind() - wanted) > NEAR)
		printf("%s: behind by %ld ns\n", what, behind());
	else
		printf("%s: followed\n", what);
}

/* A while in which the guest looks at the host's clock, more than once. */
static void stays(const char *what, int64_t wanted)
{
	nap(3 * SECOND / 2);
	nap(3 * SECOND / 2);
	follows(what, wanted);
}

static void *sleep_until(void *at)
{
	struct timespec t = spec(*(int64_t *)at);

	return (void *)(long)clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL);
}

/* A step wakes who waits for a time that is past then, though nothing else is due. */
static void wakes(void)
{
	int64_t at = now(CLOCK_REALTIME) + 1800 * SECOND, began = now(CLOCK_MONOTONIC);
	struct itimerspec never = { .it_value = spec(at + 36000 * SECOND) };
	int fd = timerfd_create(CLOCK_REALTIME, 0);
	uint64_t count;
	pthread_t thread;
	void *error;

	timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
	pthread_create(&thread, NULL, sleep_until, &at);
	nap(SECOND / 10);
	moved += 3600 * SECOND;
	nap(3 * SECOND / 2);
	pthread_join(thread, &error);
	printf("sleeper: %s\n", error ? strerror((int)(long)error) : "woken");
	printf("timer: %s\n", read(fd, &count, sizeof(count)) < 0 ? strerror(errno) : "not cancelled");
	printf("monotonic clock: %s\n", now(CLOCK_MONOTONIC) - began < PATIENCE ? "goes on" : "stepped");
	follows("an hour ahead", 0);
}

int main(void)
{
	struct timespec own;

	follows("at first", 0);
	stays("without a step", 0);
	wakes();
	moved -= 7200 * SECOND;
	follows("two hours back", 0);
	moved += SECOND / 5;
	follows("a fifth of a second", 0);
	/* The program's own idea is its own, and a step is one all the same. */
	own = spec(now(CLOCK_REALTIME) + 500 * SECOND);
	clock_settime(CLOCK_REALTIME, &own);
	stays("set by the program", -500 * SECOND);
	moved += 60 * SECOND;
	follows("a minute beyond that", -500 * SECOND);
	return 0;
}
