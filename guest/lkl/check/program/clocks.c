/* SPDX-License-Identifier: MPL-2.0 */
/* Clocks and sleeps: their resolution and accuracy, with generous limits. */
#define _GNU_SOURCE
#include "check.h"

#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>

static int64_t read_clock(clockid_t clock)
{
	struct timespec t = { 0 };

	OK(clock_gettime(clock, &t));
	TRUE(t.tv_nsec >= 0 && t.tv_nsec < 1000000000);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void never_goes_back(void)
{
	int64_t last = 0;
	int different = 0;

	for (int i = 0; i < 100000; i++) {
		int64_t t = read_clock(CLOCK_MONOTONIC);

		TRUE(t >= last);
		different += t != last;
		last = t;
	}
	/* A clock that advances in ticks would change only a few times. */
	TRUE(different > 1000);
}

static void resolution(void)
{
	struct timespec t;

	OK(clock_getres(CLOCK_MONOTONIC, &t));
	TRUE(t.tv_sec == 0 && t.tv_nsec == 1);
	OK(clock_getres(CLOCK_REALTIME, &t));
	TRUE(t.tv_sec == 0 && t.tv_nsec == 1);
	FAILS(clock_getres(77, &t), EINVAL);
	FAILS(clock_gettime(77, &t), EINVAL);
}

static void wall(void)
{
	struct timeval v;
	time_t t = time(NULL);

	/* Between 2023 and 2100. */
	TRUE(t > 1672531200 && t < 4102444800);
	OK(gettimeofday(&v, NULL));
	TRUE(v.tv_sec - t >= 0 && v.tv_sec - t < 60);
	t = read_clock(CLOCK_REALTIME) / 1000000000;
	TRUE(t - v.tv_sec >= 0 && t - v.tv_sec < 60);
	t = read_clock(CLOCK_REALTIME_COARSE) / 1000000000;
	TRUE(t - v.tv_sec >= -1 && t - v.tv_sec < 60);
}

/* The other clocks measure an interval that contains that of the monotonic clock. */
static void clocks_agree(void)
{
	int64_t wall = read_clock(CLOCK_REALTIME), boot = read_clock(CLOCK_BOOTTIME),
		raw = read_clock(CLOCK_MONOTONIC_RAW), mono = read_clock(CLOCK_MONOTONIC);

	sleep_ms(200);
	mono = read_clock(CLOCK_MONOTONIC) - mono;
	wall = read_clock(CLOCK_REALTIME) - wall;
	boot = read_clock(CLOCK_BOOTTIME) - boot;
	raw = read_clock(CLOCK_MONOTONIC_RAW) - raw;
	TRUE(mono >= 200000000);
	TRUE(wall > mono / 10 * 9 && boot > mono / 10 * 9 && raw > mono / 10 * 9);
}

static void sleeps_as_long(void)
{
	static const int ms[] = { 1, 5, 20, 100 };

	for (int i = 0; i < 4; i++) {
		struct timespec t = { 0, ms[i] * 1000000L };
		int64_t begin = now_ns(), took;

		OK(nanosleep(&t, NULL));
		took = now_ns() - begin;
		TRUE(took >= ms[i] * 1000000LL);
		TRUE(took < ms[i] * 1000000LL + 20000000000);
	}
}

/* Some of many short sleeps are close to the requested time, and not a whole tick. */
static void sleeps_precisely(void)
{
	struct timespec t = { 0, 100000 };
	int64_t end = now_ns() + 20000000000;
	int near = 0;

	while (near < 20 && now_ns() < end) {
		int64_t begin = now_ns();

		nanosleep(&t, NULL);
		near += now_ns() - begin < 3000000;
	}
	TRUE(near >= 20);
}

static volatile int ticks;

static void count_tick(int sig)
{
	(void)sig;
	ticks++;
}

static void sleep_interrupted(void)
{
	/* The first tick may come before the sleep, on a busy machine. */
	struct itimerval soon = { { 0, 20000 }, { 0, 20000 } };
	struct timespec t = { 1000, 0 }, left = { 0 };

	ticks = 0;
	set_handler(SIGALRM, count_tick, SA_RESTART);
	OK(setitimer(ITIMER_REAL, &soon, NULL));
	FAILS(nanosleep(&t, &left), EINTR);
	TRUE(ticks >= 1);
	TRUE(left.tv_sec >= 900 && left.tv_sec <= 1000);
	OK(setitimer(ITIMER_REAL, &soon, NULL));
	ERROR(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &left), EINTR);
	OK(setitimer(ITIMER_REAL, &soon, NULL));
	TRUE(sleep(1000) >= 900);
}

static void sleep_until(void)
{
	struct timespec t = { 1, 0 };
	int64_t begin;

	ZERO(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL));
	ZERO(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL));
	begin = read_clock(CLOCK_MONOTONIC) + 30000000;
	t = (struct timespec){ begin / 1000000000, begin % 1000000000 };
	ZERO(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL));
	TRUE(read_clock(CLOCK_MONOTONIC) >= begin);
	t.tv_nsec = 1000000000;
	ERROR(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL), EINVAL);
	FAILS(nanosleep(&t, NULL), EINVAL);
}

/* Processor time grows with work and not with sleep. */
static void time_used(void)
{
	int64_t begin = read_clock(CLOCK_PROCESS_CPUTIME_ID), end = now_ns() + 20000000000;
	int64_t thread = read_clock(CLOCK_THREAD_CPUTIME_ID);

	while (read_clock(CLOCK_PROCESS_CPUTIME_ID) - begin < 100000000 && now_ns() < end)
		;
	TRUE(read_clock(CLOCK_PROCESS_CPUTIME_ID) - begin >= 100000000);
	TRUE(read_clock(CLOCK_THREAD_CPUTIME_ID) - thread >= 50000000);
	begin = read_clock(CLOCK_PROCESS_CPUTIME_ID);
	sleep_ms(1000);
	TRUE(read_clock(CLOCK_PROCESS_CPUTIME_ID) - begin < 800000000);
}

static void *use_processor(void *arg)
{
	int64_t begin = read_clock(CLOCK_THREAD_CPUTIME_ID), end = now_ns() + 20000000000;

	while (read_clock(CLOCK_THREAD_CPUTIME_ID) - begin < 500000000 && now_ns() < end)
		;
	return arg;
}

static void *sleep_for(void *arg)
{
	sleep_ms(*(int *)arg);
	return arg;
}

static void time_of_threads(void)
{
	int64_t own = read_clock(CLOCK_THREAD_CPUTIME_ID);
	int64_t all = read_clock(CLOCK_PROCESS_CPUTIME_ID);
	struct timespec t;
	clockid_t clock;
	pthread_t thread;
	int ms = 1000;

	join_thread(start_thread(use_processor, NULL));
	TRUE(read_clock(CLOCK_THREAD_CPUTIME_ID) - own < 400000000);
	TRUE(read_clock(CLOCK_PROCESS_CPUTIME_ID) - all >= 500000000);
	thread = start_thread(sleep_for, &ms);
	ZERO(pthread_getcpuclockid(thread, &clock));
	OK(clock_gettime(clock, &t));
	TRUE(t.tv_sec == 0 && t.tv_nsec < 400000000);
	join_thread(thread);
}

static void other_measures(void)
{
	struct rusage before, after;
	struct tms t;
	clock_t c = clock();
	int64_t end = now_ns() + 20000000000;

	OK(getrusage(RUSAGE_SELF, &before));
	while (clock() - c < CLOCKS_PER_SEC / 5 && now_ns() < end)
		getppid();
	TRUE(clock() - c >= CLOCKS_PER_SEC / 5);
	OK(getrusage(RUSAGE_SELF, &after));
	TRUE((after.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_utime.tv_sec -
	      before.ru_stime.tv_sec) * 1000000 + after.ru_utime.tv_usec + after.ru_stime.tv_usec -
	     before.ru_utime.tv_usec - before.ru_stime.tv_usec >= 100000);
	TRUE(times(&t) != -1);
	TRUE(t.tms_utime + t.tms_stime >= 10);
	IS(sysconf(_SC_CLK_TCK), 100);
}

static void calendar(void)
{
	time_t t = 1700000000;
	struct tm tm;
	char text[64];

	setenv("TZ", "UTC0", 1);
	tzset();
	TRUE(gmtime_r(&t, &tm) == &tm);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %j %a", &tm);
	TEXT(text, "2023-11-14 22:13:20 318 Tue");
	IS(mktime(&tm), t);
	setenv("TZ", "XXX-2YYY,M3.5.0,M10.5.0/3", 1);
	tzset();
	TRUE(localtime_r(&t, &tm) == &tm);
	strftime(text, sizeof(text), "%d %H:%M %Z", &tm);
	TEXT(text, "15 00:13 XXX");
	unsetenv("TZ");
	tzset();
}

const struct check clock_checks[] = {
	{ "clock_never_goes_back", never_goes_back },
	{ "clock_resolution", resolution },
	{ "clock_wall", wall },
	{ "clock_agreement", clocks_agree },
	{ "clock_sleeps_as_long", sleeps_as_long },
	{ "clock_sleeps_precisely", sleeps_precisely },
	{ "clock_sleep_interrupted", sleep_interrupted },
	{ "clock_sleep_until", sleep_until },
	{ "clock_time_used", time_used },
	{ "clock_time_of_threads", time_of_threads },
	{ "clock_other_measures", other_measures },
	{ "clock_calendar", calendar },
	{ 0 }
};
