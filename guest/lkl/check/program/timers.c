/* SPDX-License-Identifier: MPL-2.0 */
/* Timers that send signals or start threads. */
#define _GNU_SOURCE
#include "check.h"

#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static volatile int ticks, value, code;

static void count_tick(int sig)
{
	(void)sig;
	ticks++;
}

static void note_tick(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	ticks++;
	value = info->si_value.sival_int;
	code = info->si_code;
}

static struct itimerspec every_ms(int first, int then)
{
	return (struct itimerspec){
		.it_value = { first / 1000, first % 1000 * 1000000L },
		.it_interval = { then / 1000, then % 1000 * 1000000L },
	};
}

static void with_info(int sig)
{
	struct sigaction action = { .sa_sigaction = note_tick, .sa_flags = SA_SIGINFO };

	ticks = value = code = 0;
	OK(sigaction(sig, &action, NULL));
}

static void sends_signal(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec t = every_ms(10, 0);
	timer_t timer;

	event.sigev_value.sival_int = 4711;
	with_info(SIGUSR1);
	OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
	OK(timer_settime(timer, 0, &t, NULL));
	SOON(ticks == 1);
	IS(value, 4711);
	IS(code, SI_TIMER);
	OK(timer_gettime(timer, &t));
	IS(t.it_value.tv_sec + t.it_value.tv_nsec, 0);
	OK(timer_delete(timer));
	FAILS(timer_gettime(timer, &t), EINVAL);
}

static void is_periodic(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
	struct itimerspec t = every_ms(2, 2);
	timer_t timer;
	int64_t begin = now_ns();
	int seen;

	with_info(SIGRTMIN);
	OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
	OK(timer_settime(timer, 0, &t, NULL));
	SOON(ticks >= 20);
	TRUE(now_ns() - begin >= 38000000 || ticks > 20);
	OK(timer_gettime(timer, &t));
	IS(t.it_interval.tv_nsec, 2000000);
	t = every_ms(0, 0);
	OK(timer_settime(timer, 0, &t, NULL));
	seen = ticks;
	sleep_ms(20);
	IS(ticks, seen);
	OK(timer_delete(timer));
}

/* The overrun count includes expirations while the signal is pending. */
static void overruns(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec t = every_ms(1, 1);
	sigset_t set = signal_set(SIGUSR1), before;
	timer_t timer;

	pthread_sigmask(SIG_BLOCK, &set, &before);
	OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
	OK(timer_settime(timer, 0, &t, NULL));
	sleep_ms(50);
	IS(sigwaitinfo(&set, NULL), SIGUSR1);
	TRUE(timer_getoverrun(timer) >= 10);
	OK(timer_delete(timer));
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static volatile int called;
static volatile bool on_other_thread;
static pthread_t creator;

static void note_call(union sigval v)
{
	called += v.sival_int;
	on_other_thread = !pthread_equal(pthread_self(), creator);
}

static void starts_thread(void)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD, .sigev_notify_function = note_call,
	};
	struct itimerspec t = every_ms(5, 5);
	timer_t timer;

	called = 0;
	creator = pthread_self();
	event.sigev_value.sival_int = 3;
	OK(timer_create(CLOCK_REALTIME, &event, &timer));
	OK(timer_settime(timer, 0, &t, NULL));
	SOON(called >= 9);
	TRUE(on_other_thread);
	IS(called % 3, 0);
	OK(timer_delete(timer));
}

static void *wait_for_timer(void *arg)
{
	sigset_t set = signal_set(SIGRTMIN + 1);

	*(volatile pid_t *)arg = thread_id();
	return (void *)(long)sigwaitinfo(&set, NULL);
}

static void to_one_thread(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 1 };
	struct itimerspec t = every_ms(1, 0);
	sigset_t set = signal_set(SIGRTMIN + 1);
	static volatile pid_t tid;
	pthread_t thread;
	timer_t timer;

	pthread_sigmask(SIG_BLOCK, &set, NULL);
	tid = 0;
	thread = start_thread(wait_for_timer, (void *)&tid);
	SOON(tid != 0);
	event.sigev_notify_thread_id = tid;
	OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
	OK(timer_settime(timer, 0, &t, NULL));
	IS((long)join_thread(thread), SIGRTMIN + 1);
	OK(timer_delete(timer));
}

static void absolute(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec t = every_ms(0, 0);
	timer_t timer;

	with_info(SIGUSR1);
	OK(timer_create(CLOCK_REALTIME, &event, &timer));
	clock_gettime(CLOCK_REALTIME, &t.it_value);
	t.it_value.tv_sec += 1000;
	OK(timer_settime(timer, TIMER_ABSTIME, &t, NULL));
	OK(timer_gettime(timer, &t));
	TRUE(t.it_value.tv_sec >= 900 && t.it_value.tv_sec <= 1000);
	t = (struct itimerspec){ .it_value = { 1, 0 } };
	OK(timer_settime(timer, TIMER_ABSTIME, &t, NULL));
	SOON(ticks == 1);
	OK(timer_delete(timer));
}

static void wrong(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = 99 };
	struct itimerspec t = every_ms(1, 0);
	timer_t timer;

	FAILS(timer_create(CLOCK_MONOTONIC, &event, &timer), EINVAL);
	FAILS(timer_create(77, NULL, &timer), EINVAL);
	event.sigev_notify = SIGEV_NONE;
	OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
	t.it_value.tv_nsec = 1000000000;
	FAILS(timer_settime(timer, 0, &t, NULL), EINVAL);
	OK(timer_delete(timer));
}

static void interval_timer(void)
{
	struct itimerval t = { { 0, 3000 }, { 0, 3000 } }, was;

	ticks = 0;
	set_handler(SIGALRM, count_tick, 0);
	OK(setitimer(ITIMER_REAL, &t, NULL));
	SOON(ticks >= 10);
	t = (struct itimerval){ .it_value = { 500, 0 } };
	OK(setitimer(ITIMER_REAL, &t, &was));
	IS(was.it_interval.tv_usec, 3000);
	OK(getitimer(ITIMER_REAL, &t));
	TRUE(t.it_value.tv_sec >= 400 && t.it_value.tv_sec <= 500);
	IS(t.it_interval.tv_usec, 0);
}

static void alarms(void)
{
	unsigned left;

	ticks = 0;
	set_handler(SIGALRM, count_tick, 0);
	IS(alarm(1000), 0);
	left = alarm(1);
	TRUE(left >= 900 && left <= 1000);
	SOON(ticks == 1);
	IS(alarm(0), 0);
}

/* A profiling timer. A guest notices its expiration only at system calls. */
static void profiling_timer(void)
{
	struct itimerval t = { { 0, 10000 }, { 0, 10000 } };
	int64_t end = now_ns() + 20000000000;

	ticks = 0;
	set_handler(SIGPROF, count_tick, SA_RESTART);
	OK(setitimer(ITIMER_PROF, &t, NULL));
	while (ticks < 3 && now_ns() < end)
		getppid();
	TRUE(ticks >= 3);
}

const struct check timer_checks[] = {
	{ "timer_sends_signal", sends_signal },
	{ "timer_is_periodic", is_periodic },
	{ "timer_overruns", overruns },
	{ "timer_starts_thread", starts_thread },
	{ "timer_to_one_thread", to_one_thread },
	{ "timer_absolute", absolute },
	{ "timer_wrong_arguments", wrong },
	{ "timer_interval", interval_timer },
	{ "timer_alarm", alarms },
	{ "timer_profiling", profiling_timer },
	{ 0 }
};
