/* SPDX-License-Identifier: MPL-2.0 */
/* A test program about stacks: their sizes, and what happens at their end. */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* Calls itself. Each call takes half a KiB of stack, and makes a system call. */
static __attribute__((noinline)) int recurse(int depth)
{
	volatile char room[512];

	memset((char *)room, depth, sizeof(room));
	getppid();
	return depth ? recurse(depth - 1) + room[depth & 511] : 0;
}

/* Calls itself until the stack reaches an address. */
static __attribute__((noinline)) int recurse_to(const char *end)
{
	volatile char room[512];

	memset((char *)room, 1, sizeof(room));
	return (char *)room > end ? recurse_to(end) + room[5] : 0;
}

static void *overrun(void *calls)
{
	pthread_attr_t attr;
	void *low;
	size_t size;

	if (calls)
		recurse(2000);
	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, &low, &size);
	recurse_to((char *)low - 1024);
	getppid();
	return NULL;
}

/* A thread that needs more than its 128 KiB. */
static void overrun_in_thread(void *calls)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 << 10);
	pthread_create(&thread, &attr, overrun, calls);
	pthread_setname_np(thread, "deep");
	pthread_join(thread, NULL);
}

static char signal_stack[8192];

/* Leaves too little of the stack for the frame of a second signal. */
static void raise_again(int signal)
{
	char here;
	volatile char room[&here - signal_stack - 500];

	room[0] = signal;
	raise(room[0]);
}

static void overrun_signal_stack(void)
{
	stack_t s = { .ss_sp = signal_stack, .ss_size = sizeof(signal_stack) };
	struct sigaction a = { .sa_handler = raise_again, .sa_flags = SA_ONSTACK | SA_NODEFER };

	sigaltstack(&s, NULL);
	sigaction(SIGUSR1, &a, NULL);
	raise(SIGUSR1);
}

/* Changes to a stack, as a library for coroutines does, and makes a system call there. */
static void *run_coroutines(void *arg)
{
	static char stacks[2][16384] __attribute__((aligned(4096)));
	void (*run)(void) = (void (*)(void))getppid;

	for (int i = 0; i < 100; i++)
		__asm__ volatile("mov %%rsp, %%rbx\n\tmov %0, %%rsp\n\tcall *%1\n\tmov %%rbx, %%rsp"
			:
			: "r"(stacks[i & 1] + sizeof(stacks[0]) - 64), "r"(run)
			: "rbx", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
	return arg;
}

static void print_sizes(void)
{
	pthread_attr_t attr;
	struct rlimit limit;
	size_t now, standard;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_getstacksize(&attr, &now);
	pthread_getattr_default_np(&attr);
	pthread_attr_getstacksize(&attr, &standard);
	getrlimit(RLIMIT_STACK, &limit);
	pthread_create(&thread, NULL, run_coroutines, NULL);
	pthread_join(thread, NULL);
	printf("attribute %zu default %zu limit %lu\n", now, standard, (unsigned long)limit.rlim_cur);
}

static sem_t started, never;

static void *wait_forever(void *arg)
{
	sem_post(&started);
	sem_wait(&never);
	return arg;
}

/*
 * Creates threads that wait, until that fails. Before each one it maps a few pages, as a
 * program's malloc does.
 */
static void fill_with_threads(void)
{
	int n = 0, prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
	pthread_t thread;

	sem_init(&started, 0, 0);
	sem_init(&never, 0, 0);
	for (; mmap(NULL, 16384, prot, flags, -1, 0) != MAP_FAILED; n++) {
		if (pthread_create(&thread, NULL, wait_forever, NULL))
			break;
		sem_wait(&started);
	}
	printf("threads %d free %ld total %ld\n", n, get_avphys_pages() * 4, get_phys_pages() * 4);
	_exit(0);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	setvbuf(stdout, NULL, _IONBF, 0);
	if (!strcmp(what, "sizes"))
		print_sizes();
	else if (!strcmp(what, "fill"))
		fill_with_threads();
	else if (!strcmp(what, "thread"))
		overrun_in_thread(NULL);
	else if (!strcmp(what, "thread-calls"))
		overrun_in_thread(argv);
	else if (!strcmp(what, "main"))
		printf("%d\n", recurse(atoi(argv[2])));
	else if (!strcmp(what, "handler"))
		overrun_signal_stack();
	puts("end");
	return 0;
}
