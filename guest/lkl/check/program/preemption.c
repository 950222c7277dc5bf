/* SPDX-License-Identifier: MPL-2.0 */
/* Threads that compute without system calls, and what must interrupt them. */
#define _GNU_SOURCE
#include "check.h"

#include <sched.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <ucontext.h>

/* A loop without system calls that ends if preemption is missing. */
#define COMPUTE_UNTIL(condition) \
	for (volatile long turns_ = 0; turns_ < 3000000000 && !(condition); turns_++)

static volatile bool done, reached;
static volatile int handled;

static void count(int signal)
{
	(void)signal;
	handled++;
}

/* The signal, 20 ms after the start and then every 5 ms. */
static void start_interval_timer(int which, int signal, void (*handler)(int))
{
	struct itimerval t = { { 0, 5000 }, { 0, 20000 } };

	handled = 0;
	set_handler(signal, handler, 0);
	OK(setitimer(which, &t, NULL));
}

static void alarm_interrupts(void)
{
	start_interval_timer(ITIMER_REAL, SIGALRM, count);
	COMPUTE_UNTIL(handled >= 5);
	TRUE(handled >= 5);
}

static void profiling_timers_interrupt(void)
{
	start_interval_timer(ITIMER_VIRTUAL, SIGVTALRM, count);
	COMPUTE_UNTIL(handled >= 5);
	TRUE(handled >= 5);
	start_interval_timer(ITIMER_PROF, SIGPROF, count);
	COMPUTE_UNTIL(handled >= 5);
	TRUE(handled >= 5);
}

static void notify(union sigval value)
{
	*(volatile bool *)value.sival_ptr = true;
}

static void timer_thread_runs(void)
{
	struct sigevent e = { .sigev_notify = SIGEV_THREAD, .sigev_notify_function = notify };
	struct itimerspec t = { .it_value.tv_nsec = 10000000 };
	timer_t timer;

	done = false;
	e.sigev_value.sival_ptr = (void *)&done;
	OK(timer_create(CLOCK_MONOTONIC, &e, &timer));
	OK(timer_settime(timer, 0, &t, NULL));
	COMPUTE_UNTIL(done);
	TRUE(done);
	OK(timer_delete(timer));
}

static void *compute(void *arg)
{
	(void)arg;
	reached = true;
	COMPUTE_UNTIL(done);
	return (void *)(long)done;
}

static void *compute_for_ever(void *arg)
{
	(void)arg;
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	reached = true;
	for (;;)
		;
	return NULL;
}

static void kill_reaches_thread(void)
{
	pthread_t thread;

	done = reached = false;
	handled = 0;
	set_handler(SIGUSR1, count, 0);
	thread = start_thread(compute, NULL);
	SOON(reached);
	ZERO(pthread_kill(thread, SIGUSR1));
	SOON(handled == 1);
	done = true;
	IS((long)join_thread(thread), 1);
}

static void cancel_reaches_thread(void)
{
	pthread_t thread;

	reached = false;
	thread = start_thread(compute_for_ever, NULL);
	SOON(reached);
	ZERO(pthread_cancel(thread));
	TRUE(join_thread(thread) == PTHREAD_CANCELED);
}

static volatile long progress[3];

static void *count_progress(void *arg)
{
	for (volatile long *p = arg; !done; ++*p)
		;
	return NULL;
}

static void threads_take_turns(void)
{
	pthread_t threads[3];

	done = false;
	for (int i = 0; i < 3; i++) {
		progress[i] = 0;
		threads[i] = start_thread(count_progress, (void *)&progress[i]);
	}
	for (int turn = 0; turn < 3; turn++) {
		long before[] = { progress[0], progress[1], progress[2] };

		SOON(progress[0] != before[0] && progress[1] != before[1] && progress[2] != before[2]);
	}
	done = true;
	for (int i = 0; i < 3; i++)
		join_thread(threads[i]);
}

static void *sleep_and_finish(void *arg)
{
	(void)arg;
	reached = true;
	sleep_ms(20);
	done = true;
	return NULL;
}

static void fifo_thread_takes_over(void)
{
	struct sched_param p = { .sched_priority = 10 };
	pthread_attr_t a;
	pthread_t thread;

	done = reached = false;
	ZERO(pthread_attr_init(&a));
	ZERO(pthread_attr_setinheritsched(&a, PTHREAD_EXPLICIT_SCHED));
	ZERO(pthread_attr_setschedpolicy(&a, SCHED_FIFO));
	ZERO(pthread_attr_setschedparam(&a, &p));
	ZERO(pthread_create(&thread, &a, sleep_and_finish, NULL));
	SOON(reached);
	COMPUTE_UNTIL(done);
	TRUE(done);
	join_thread(thread);
}

static sigjmp_buf away;

static void jump_away(int signal)
{
	(void)signal;
	siglongjmp(away, 1);
}

static void handler_may_jump(void)
{
	for (volatile int i = 0; i < 5; i++) {
		if (sigsetjmp(away, 1) == 0) {
			start_interval_timer(ITIMER_REAL, SIGALRM, jump_away);
			COMPUTE_UNTIL(false);
			TRUE(!"interrupted");
		}
	}
	signal(SIGALRM, SIG_IGN);
}

static volatile long seen_register, seen_state;

static void change_register(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	double *vectors = (double *)uc->uc_mcontext.fpregs->_xmm;

	(void)signal;
	(void)info;
	seen_register = uc->uc_mcontext.gregs[REG_R12];
	seen_state = (long)vectors[2 * 2];
	uc->uc_mcontext.gregs[REG_R13] = 99;
	vectors[2 * 2] = 7;
	handled = 1;
}

/* The handler sees r12 and xmm2, and changes r13 and xmm2. */
static void handler_sees_registers(void)
{
	struct sigaction a = { .sa_sigaction = change_register, .sa_flags = SA_SIGINFO };
	struct itimerval t = { { 0, 0 }, { 0, 20000 } };
	long r13 = 1;
	double xmm2 = 42;

	handled = 0;
	OK(sigaction(SIGALRM, &a, NULL));
	OK(setitimer(ITIMER_REAL, &t, NULL));
	__asm__ volatile("mov $1234, %%r12\n"
			 "mov %0, %%r13\n"
			 "movsd %1, %%xmm2\n"
			 "mov $3000000000, %%rcx\n"
			 "1: cmpl $0, %2\n"
			 "jne 2f\n"
			 "dec %%rcx\n"
			 "jnz 1b\n"
			 "2: mov %%r13, %0\n"
			 "movsd %%xmm2, %1\n"
			 : "+m"(r13), "+m"(xmm2)
			 : "m"(handled)
			 : "r12", "r13", "rcx", "xmm2", "cc", "memory");
	IS(handled, 1);
	IS(seen_register, 1234);
	IS(seen_state, 42);
	IS(r13, 99);
	IS((long)xmm2, 7);
}

static char alternate_stack[65536] __attribute__((aligned(16)));
static volatile bool on_alternate_stack;

static void look_at_stack(int signal)
{
	char here;

	(void)signal;
	on_alternate_stack = &here >= alternate_stack &&
			     &here < alternate_stack + sizeof(alternate_stack);
	handled++;
}

/* Handles a signal on the last bytes of alternate_stack while the program computes. */
static void handle_on_alternate_stack(size_t size)
{
	stack_t s = { .ss_sp = alternate_stack + sizeof(alternate_stack) - size, .ss_size = size };
	struct itimerval t = { { 0, 0 }, { 0, 20000 } };

	handled = 0;
	OK(sigaltstack(&s, NULL));
	set_handler(SIGALRM, look_at_stack, SA_ONSTACK);
	OK(setitimer(ITIMER_REAL, &t, NULL));
	COMPUTE_UNTIL(handled);
	s.ss_flags = SS_DISABLE;
	OK(sigaltstack(&s, NULL));
	IS(handled, 1);
	TRUE(on_alternate_stack);
}

static void handler_on_alternate_stack(void)
{
	handle_on_alternate_stack(sizeof(alternate_stack));
}

static void handler_fits_smallest_stack(void)
{
	size_t size = sysconf(_SC_MINSIGSTKSZ) + 512; /* 512 for the handler */
	char *below = alternate_stack + sizeof(alternate_stack) - size;

	memset(alternate_stack, 0x5a, sizeof(alternate_stack));
	handle_on_alternate_stack(size);
	while (below > alternate_stack && below[-1] == 0x5a)
		below--;
	TRUE(below == alternate_stack);
}

static void processor_time_is_counted(void)
{
	struct timespec t = { 0 };
	struct rusage u;

	COMPUTE_UNTIL((turns_ & 0xffffff) == 0xffffff &&
		      (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), t.tv_sec || t.tv_nsec > 50000000));
	OK(getrusage(RUSAGE_THREAD, &u));
	TRUE(u.ru_utime.tv_sec || u.ru_utime.tv_usec > 30000);
}

const struct check preemption_checks[] = {
	{ "preempt_alarm_interrupts", alarm_interrupts },
	{ "preempt_profiling_timers_interrupt", profiling_timers_interrupt },
	{ "preempt_timer_thread_runs", timer_thread_runs },
	{ "preempt_kill_reaches_thread", kill_reaches_thread },
	{ "preempt_cancel_reaches_thread", cancel_reaches_thread },
	{ "preempt_threads_take_turns", threads_take_turns },
	{ "preempt_fifo_thread_takes_over", fifo_thread_takes_over },
	{ "preempt_handler_may_jump", handler_may_jump },
	{ "preempt_handler_sees_registers", handler_sees_registers },
	{ "preempt_handler_on_alternate_stack", handler_on_alternate_stack },
	{ "preempt_handler_fits_smallest_stack", handler_fits_smallest_stack },
	{ "preempt_processor_time_is_counted", processor_time_is_counted },
	{ 0 }
};
