/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The part of the programs that measures. Each program prints one line,
 *
 *	result RATE P50 P99 FROM TO
 *
 * with latencies in microseconds. FROM and TO are the times of day when the
 * measurement began and ended, so that an external profiler can select samples.
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

static inline void die(const char *operation)
{
	perror(operation);
	exit(1);
}

static inline long check(const char *operation, long result)
{
	if (result < 0)
		die(operation);
	return result;
}

static inline int compare_durations(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/*
 * Prints the result line for a measurement that ends now and has lasted ns
 * nanoseconds. amount is the work done, in units of the caller's choice. Sorts the
 * n durations of single operations.
 */
static inline void print_result(double amount, int64_t ns, int64_t *durations, size_t n)
{
	double to = (double)clock_ns(CLOCK_REALTIME) / 1e9;

	qsort(durations, n, sizeof(*durations), compare_durations);
	printf("result %f %f %f %f %f\n", amount * 1e9 / (double)ns,
	       (double)durations[(n - 1) / 2] / 1e3, (double)durations[(n - 1) * 99 / 100] / 1e3,
	       to - (double)ns / 1e9, to);
}

#endif
