/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Steps the host's wall clock as the guest sees it, and prints how the guest's
 * clocks react. The program is linked with --wrap=solo5_clock_wall, and adds an
 * offset to the host's time.
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
#define TOLERANCE (SECOND / 20)	/* on a busy machine */
#define TIMEOUT (20 * SECOND)

uint64_t __real_solo5_clock_wall(void);
static volatile int64_t host_offset;

/* The kernel calls this too. */
__attribute__((target("general-regs-only"))) uint64_t __wrap_solo5_clock_wall(void)
{
	return __real_solo5_clock_wall() + host_offset;
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

static struct timespec to_timespec(int64_t ns)
{
	return (struct timespec){ ns / SECOND, ns % SECOND };
}

static void sleep_ns(int64_t ns)
{
	struct timespec t = to_timespec(ns);

	nanosleep(&t, NULL);
}

/*
 * Returns the difference between the host's time and the guest's. A preemption
 * between the two readings enlarges it, so the smallest of several counts.
 */
static int64_t clock_error(void)
{
	int64_t least = INT64_MAX;

	for (int i = 0; i < 5; i++) {
		int64_t d = (int64_t)__wrap_solo5_clock_wall() - clock_ns(CLOCK_REALTIME);

		if (llabs(d) < llabs(least))
			least = d;
	}
	return least;
}

/* Waits until the guest's clock has the expected difference to the host's. */
static void expect_error(const char *step, int64_t expected)
{
	int64_t began = clock_ns(CLOCK_MONOTONIC), error;

	while (llabs((error = clock_error()) - expected) > TOLERANCE &&
	       clock_ns(CLOCK_MONOTONIC) - began < TIMEOUT)
		sleep_ns(SECOND / 100);
	if (llabs(error - expected) > TOLERANCE)
		printf("%s: behind by %ld ns\n", step, error);
	else
		printf("%s: followed\n", step);
}

/* As expect_error, but after the guest has read the host's clock several times. */
static void expect_stable_error(const char *step, int64_t expected)
{
	sleep_ns(3 * SECOND / 2);
	sleep_ns(3 * SECOND / 2);
	expect_error(step, expected);
}

static void *sleep_until(void *at)
{
	struct timespec t = to_timespec(*(int64_t *)at);

	return (void *)(long)clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL);
}

/* A step wakes sleepers whose time has passed, even if no other timer is due. */
static void check_sleepers(void)
{
	int64_t at = clock_ns(CLOCK_REALTIME) + 1800 * SECOND, began = clock_ns(CLOCK_MONOTONIC);
	struct itimerspec never = { .it_value = to_timespec(at + 36000 * SECOND) };
	int fd = timerfd_create(CLOCK_REALTIME, 0);
	uint64_t count;
	pthread_t thread;
	void *error;

	timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
	pthread_create(&thread, NULL, sleep_until, &at);
	sleep_ns(SECOND / 10);
	host_offset += 3600 * SECOND;
	sleep_ns(3 * SECOND / 2);
	pthread_join(thread, &error);
	printf("sleeper: %s\n", error ? strerror((int)(long)error) : "woken");
	printf("timer: %s\n", read(fd, &count, sizeof(count)) < 0 ? strerror(errno) :
								    "not cancelled");
	printf("monotonic clock: %s\n", clock_ns(CLOCK_MONOTONIC) - began < TIMEOUT ? "goes on" :
										      "stepped");
	expect_error("an hour ahead", 0);
}

int main(void)
{
	struct timespec own;

	expect_error("at first", 0);
	expect_stable_error("without a step", 0);
	check_sleepers();
	host_offset -= 7200 * SECOND;
	expect_error("two hours back", 0);
	host_offset += SECOND / 5;
	expect_error("a fifth of a second", 0);
	/* The guest keeps a time that the program has set, and still follows steps. */
	own = to_timespec(clock_ns(CLOCK_REALTIME) + 500 * SECOND);
	clock_settime(CLOCK_REALTIME, &own);
	expect_stable_error("set by the program", -500 * SECOND);
	host_offset += 60 * SECOND;
	expect_error("a minute beyond that", -500 * SECOND);
	return 0;
}
