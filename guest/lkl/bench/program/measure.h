/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What both programs measure with. Each prints one line: "result RATE P50 P99 FROM TO", the latencies in microseconds, and the
 * time of day when it began and ended, so that somebody who watches from outside knows what belongs to it.
 */
#ifndef MEASURE_H
#define MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline int64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static inline int64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

static inline long check(const char *what, long result)
{
	if (result < 0)
		die(what);
	return result;
}

static inline int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* How much was done, in units of the caller's choice, in so many nanoseconds up to now; took are n latencies, which are sorted. */
static inline void result(double done, int64_t ns, int64_t *took, size_t n)
{
	double to = (double)clock_ns(CLOCK_REALTIME) / 1e9;

	qsort(took, n, sizeof(*took), by_size);
	printf("result %f %f %f %f %f\n", done * 1e9 / (double)ns, (double)took[(n - 1) / 2] / 1e3,
	       (double)took[(n - 1) * 99 / 100] / 1e3, to - (double)ns / 1e9, to);
}

#endif
