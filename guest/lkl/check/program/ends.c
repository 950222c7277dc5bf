/* SPDX-License-Identifier: MPL-2.0 */
/* Ways to end a program. The test compares output and exit status of each. */
#define _GNU_SOURCE
#include "check.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void print_text(const char *text)
{
	(void)!write(1, text, strlen(text));
}

static void print_first(void)
{
	print_text("registered first\n");
}

static void print_second(void)
{
	print_text("registered second\n");
}

static int returns(void)
{
	atexit(print_first);
	atexit(print_second);
	return 7;
}

static int exits(void)
{
	atexit(print_first);
	exit(300);
}

static int exits_at_once(void)
{
	atexit(print_first);
	printf("in the buffer, and lost");
	_exit(8);
}

static int exits_quickly(void)
{
	atexit(print_first);
	at_quick_exit(print_second);
	quick_exit(9);
}

static int flushes(void)
{
	setvbuf(stdout, NULL, _IOFBF, 4096);
	printf("in the buffer, ");
	fprintf(stderr, "to the other stream\n");
	printf("and written at the end\n");
	return 0;
}

static int aborts(void)
{
	atexit(print_first);
	abort();
}

static int asserts(void)
{
	close(2);
	assert(!"a reason");
	return 0;
}

static int terminated(void)
{
	kill(getpid(), SIGTERM);
	return 1;
}

static int killed(void)
{
	raise(SIGKILL);
	return 1;
}

static int alarmed(void)
{
	alarm(1);
	pause();
	return 1;
}

static int broken_pipe(void)
{
	int fd[2];

	if (pipe(fd) == -1 || close(fd[0]) == -1)
		return 2;
	(void)!write(fd[1], "x", 1);
	return 1;
}

static int real_time_signal(void)
{
	raise(45);	/* the value of SIGRTMIN depends on libc */
	return 1;
}

static void *exit_in_thread(void *arg)
{
	exit((int)(long)arg);
	return NULL;
}

static int exits_in_thread(void)
{
	atexit(print_first);
	start_thread(exit_in_thread, (void *)11);
	while (pause() == -1)
		;
	return 1;
}

static void *print_later(void *arg)
{
	sleep_ms(50);
	print_text(arg);
	return NULL;
}

/* The process continues without its first thread. Its last one exits with 0. */
static int first_thread_leaves(void)
{
	atexit(print_first);
	start_thread(print_later, "the last thread\n");
	pthread_exit(NULL);
}

static void *cancel_main(void *arg)
{
	sleep_ms(20);
	pthread_cancel(*(pthread_t *)arg);
	sleep_ms(20);
	print_text("still here\n");
	exit(12);
	return NULL;
}

static int first_thread_cancelled(void)
{
	static pthread_t self;

	self = pthread_self();
	start_thread(cancel_main, &self);
	while (pause() == -1)
		;
	return 1;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int pipes[2];

static void *wait_for_lock(void *arg)
{
	pthread_mutex_lock(&lock);
	return arg;
}

static void *wait_for_bytes(void *arg)
{
	return read(pipes[0], &arg, 1) == 1 ? arg : NULL;
}

static void *wait_for_time(void *arg)
{
	poll(NULL, 0, 1000000);
	return arg;
}

static void *never_wait(void *arg)
{
	for (;;)
		getppid();
	return arg;
}

static int among_others(void)
{
	if (pipe(pipes) == -1)
		return 2;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < 20; i++) {
		start_small_thread(wait_for_lock, NULL);
		start_small_thread(wait_for_bytes, NULL);
		start_small_thread(wait_for_time, NULL);
	}
	start_small_thread(never_wait, NULL);
	sleep_ms(20);
	return 13;
}

/* Ends with an open file and a shared mapping of it. */
static int with_files_in_use(void)
{
	int fd = open("/end", O_RDWR | O_CREAT | O_TRUNC, 0666);
	char *p;

	if (fd == -1 || ftruncate(fd, 4096) == -1)
		return 2;
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return 3;
	strcpy(p, "mapped");
	unlink("/end");
	return 14;
}

static int with_signals_blocked(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	raise(SIGTERM);
	raise(SIGUSR1);
	print_text("not yet\n");
	raise(SIGKILL);
	return 1;
}

static void raise_again(int sig)
{
	print_text("handled\n");
	signal(sig, SIG_DFL);
	raise(sig);
}

static int handled_and_raised(void)
{
	signal(SIGTERM, raise_again);
	raise(SIGTERM);
	print_text("the signal ends it before this\n");
	return 1;
}

static int memory_limit_is_an_error(void)
{
	struct rlimit l = { 64 << 20, 64 << 20 };

	if (setrlimit(RLIMIT_AS, &l) == -1)
		return 2;
	print_text(malloc(1 << 30) ? "there is memory\n" : "no memory\n");
	return 15;
}

static int null_pointer(void)
{
	volatile int *volatile p = NULL;

	return *p;
}

static int illegal(void)
{
	__builtin_trap();
}

static int divides_by_zero(void)
{
	volatile int zero = 0;

	return 5 / zero;
}

static int writes_constant(void)
{
	*(volatile char *)(uintptr_t)"constant" = 'C';
	return 1;
}

static const struct {
	const char *name;
	int (*run)(void);
} endings[] = {
	{ "returns", returns },
	{ "exits", exits },
	{ "exits_at_once", exits_at_once },
	{ "exits_quickly", exits_quickly },
	{ "flushes", flushes },
	{ "aborts", aborts },
	{ "asserts", asserts },
	{ "terminated", terminated },
	{ "killed", killed },
	{ "alarmed", alarmed },
	{ "broken_pipe", broken_pipe },
	{ "real_time_signal", real_time_signal },
	{ "exits_in_thread", exits_in_thread },
	{ "first_thread_leaves", first_thread_leaves },
	{ "first_thread_cancelled", first_thread_cancelled },
	{ "among_others", among_others },
	{ "with_files_in_use", with_files_in_use },
	{ "with_signals_blocked", with_signals_blocked },
	{ "handled_and_raised", handled_and_raised },
	{ "memory_limit_is_an_error", memory_limit_is_an_error },
	{ "null_pointer", null_pointer },
	{ "illegal", illegal },
	{ "divides_by_zero", divides_by_zero },
	{ "writes_constant", writes_constant },
};

int end_program(const char *name)
{
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
		if (!name)
			printf("%s\n", endings[i].name);
		else if (strcmp(name, endings[i].name) == 0)
			return endings[i].run();
	return name ? 2 : 0;
}
