/* SPDX-License-Identifier: MPL-2.0 */
/* Threads: creation, end, stacks and thread-local data. */
#define _GNU_SOURCE
#include "check.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

static void *return_argument(void *arg)
{
	return arg;
}

static void join_value(void)
{
	int x;

	TRUE(join_thread(start_thread(return_argument, &x)) == &x);
}

static void *exit_with_next(void *arg)
{
	pthread_exit((char *)arg + 1);
}

static void exit_value(void)
{
	char x[2];

	TRUE(join_thread(start_thread(exit_with_next, x)) == x + 1);
}

static void *store_self(void *arg)
{
	*(pthread_t *)arg = pthread_self();
	return NULL;
}

static void self_equal(void)
{
	pthread_t inside, thread = start_thread(store_self, &inside);

	join_thread(thread);
	TRUE(pthread_equal(inside, thread));
	TRUE(!pthread_equal(inside, pthread_self()));
}

static void thousand_in_turn(void)
{
	for (long i = 0; i < 1000; i++)
		IS((long)join_thread(start_thread(return_argument, (void *)i)), i);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int there;
static bool go;

static void *wait_for_go(void *arg)
{
	long own = (long)arg;

	pthread_mutex_lock(&lock);
	there++;
	pthread_cond_broadcast(&changed);
	while (!go)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	return (void *)(own * own);
}

static void sixty_four_at_once(void)
{
	pthread_t threads[64];
	long sum = 0;

	there = 0;
	go = false;
	for (long i = 0; i < 64; i++)
		threads[i] = start_small_thread(wait_for_go, (void *)i);
	pthread_mutex_lock(&lock);
	while (there < 64)
		pthread_cond_wait(&changed, &lock);
	go = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < 64; i++)
		sum += (long)join_thread(threads[i]);
	IS(sum, 63 * 64 * 127 / 6);
}

static volatile bool detached_ran;

static void *set_flag(void *arg)
{
	*(volatile bool *)arg = true;
	return NULL;
}

static void detached(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	detached_ran = false;
	pthread_attr_init(&attr);
	ZERO(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED));
	ZERO(pthread_create(&thread, &attr, set_flag, (void *)&detached_ran));
	SOON(detached_ran);
	detached_ran = false;
	thread = start_thread(set_flag, (void *)&detached_ran);
	ZERO(pthread_detach(thread));
	SOON(detached_ran);
}

static void *frame_address(void *arg)
{
	(void)arg;
	return __builtin_frame_address(0);
}

static void own_stack(void)
{
	static char stack[65536] __attribute__((aligned(4096)));
	pthread_attr_t attr;
	pthread_t thread;
	char *inside;

	pthread_attr_init(&attr);
	ZERO(pthread_attr_setstack(&attr, stack, sizeof(stack)));
	ZERO(pthread_create(&thread, &attr, frame_address, NULL));
	inside = join_thread(thread);
	TRUE(inside >= stack && inside < stack + sizeof(stack));
}

/* Uses about 100 bytes a level. The sum prevents tail call optimization. */
static __attribute__((noinline)) long deep(long level)
{
	volatile char room[64];

	room[level & 63] = (char)level;
	if (level == 0)
		return room[0];
	return deep(level - 1) + 1 + (room[level & 63] != (char)level);
}

static void *recurse(void *arg)
{
	return (void *)deep((long)arg);
}

static void deep_recursion(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	/* The first thread's stack has at least a megabyte everywhere. */
	IS(deep(5000), 5000);
	pthread_attr_init(&attr);
	ZERO(pthread_attr_setstacksize(&attr, 8 << 20));
	ZERO(pthread_create(&thread, &attr, recurse, (void *)30000));
	IS((long)join_thread(thread), 30000);
}

static pthread_barrier_t all_run;

static void *wait_for_all(void *arg)
{
	pthread_barrier_wait(&all_run);
	return arg;
}

/* Some libraries give their threads stacks of the size of the first thread's. */
static void limit_as_stack_size(void)
{
	enum { THREADS = 40 };
	pthread_t threads[THREADS];
	struct rlimit limit;
	pthread_attr_t attr;

	OK(getrlimit(RLIMIT_STACK, &limit));
	TRUE(limit.rlim_cur >= 128 << 10);
	if (limit.rlim_cur > 8 << 20)
		limit.rlim_cur = 8 << 20;
	pthread_attr_init(&attr);
	ZERO(pthread_attr_setstacksize(&attr, limit.rlim_cur));
	pthread_barrier_init(&all_run, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		ZERO(pthread_create(&threads[i], &attr, wait_for_all, NULL));
	pthread_barrier_wait(&all_run);
	for (int i = 0; i < THREADS; i++)
		join_thread(threads[i]);
}

static void attributes(void)
{
	pthread_attr_t attr;
	size_t size = 0;
	int state = -1;

	pthread_attr_init(&attr);
	ZERO(pthread_attr_getdetachstate(&attr, &state));
	IS(state, PTHREAD_CREATE_JOINABLE);
	ZERO(pthread_attr_setstacksize(&attr, 1 << 20));
	ZERO(pthread_attr_getstacksize(&attr, &size));
	IS(size, 1 << 20);
	ERROR(pthread_attr_setstacksize(&attr, 16), EINVAL);
	ERROR(pthread_attr_setdetachstate(&attr, 77), EINVAL);
}

static _Thread_local int initialised = 42;
static _Thread_local int zero;
static _Thread_local char aligned_data[64] __attribute__((aligned(64)));

static void *look_at_tls(void *arg)
{
	bool right = initialised == 42 && zero == 0 &&
		     (uintptr_t)aligned_data % 64 == 0 &&
		     all_bytes(aligned_data, 0, sizeof(aligned_data));

	initialised = zero = (int)(long)arg;
	memset(aligned_data, (int)(long)arg, sizeof(aligned_data));
	for (int i = 0; i < 10; i++) {
		sched_yield();
		right = right && initialised == (long)arg && zero == (long)arg &&
			all_bytes(aligned_data, (int)(long)arg, sizeof(aligned_data));
	}
	return right ? arg : NULL;
}

static void thread_local(void)
{
	pthread_t threads[20];

	for (long i = 0; i < 20; i++)
		threads[i] = start_small_thread(look_at_tls, (void *)(i + 1));
	for (long i = 0; i < 20; i++)
		IS((long)join_thread(threads[i]), i + 1);
	IS(initialised, 42);
}

static pthread_key_t keys[3];
static int destroyed;

static void count_destroyed(void *value)
{
	destroyed += (int)(long)value;
}

/* Sets its key again until the third round of destructors. */
static void set_key_again(void *value)
{
	if ((long)value < 3)
		pthread_setspecific(keys[1], (char *)value + 1);
	destroyed += 100;
}

static void *use_keys(void *arg)
{
	TRUE(pthread_getspecific(keys[0]) == NULL);
	pthread_setspecific(keys[0], (void *)7);
	pthread_setspecific(keys[1], (void *)1);
	pthread_setspecific(keys[2], NULL);
	return arg;
}

static void key_destructors(void)
{
	destroyed = 0;
	ZERO(pthread_key_create(&keys[0], count_destroyed));
	ZERO(pthread_key_create(&keys[1], set_key_again));
	ZERO(pthread_key_create(&keys[2], count_destroyed));
	ZERO(pthread_setspecific(keys[2], (void *)1));
	join_thread(start_thread(use_keys, NULL));
	IS(destroyed, 307);
	IS((long)pthread_getspecific(keys[2]), 1);
	for (int i = 0; i < 3; i++)
		ZERO(pthread_key_delete(keys[i]));
}

static void many_keys(void)
{
	pthread_key_t many[100];

	for (long i = 0; i < 100; i++) {
		ZERO(pthread_key_create(&many[i], NULL));
		TRUE(pthread_getspecific(many[i]) == NULL);
		ZERO(pthread_setspecific(many[i], (void *)(i + 1)));
	}
	for (long i = 0; i < 100; i++)
		IS((long)pthread_getspecific(many[i]), i + 1);
	for (int i = 0; i < 100; i++)
		ZERO(pthread_key_delete(many[i]));
}

static int initialisations;

static void initialise(void)
{
	sched_yield();
	initialisations++;
}

static pthread_once_t once_control = PTHREAD_ONCE_INIT;

static void *call_once(void *arg)
{
	pthread_once(&once_control, initialise);
	return initialisations == 1 ? arg : NULL;
}

static void once(void)
{
	pthread_t threads[8];

	for (int i = 0; i < 8; i++)
		threads[i] = start_small_thread(call_once, threads);
	for (int i = 0; i < 8; i++)
		TRUE(join_thread(threads[i]) == threads);
	IS(initialisations, 1);
}

static void thread_name(void)
{
	char name[16] = "";

	ZERO(pthread_setname_np(pthread_self(), "a-check"));
	TEXT(get_file("/proc/thread-self/comm"), "a-check\n");
	ZERO(pthread_getname_np(pthread_self(), name, sizeof(name)));
	TEXT(name, "a-check");
	ERROR(pthread_setname_np(pthread_self(), "longer than sixteen"), ERANGE);
}

/* Each thread takes a hundred turns, without waiting for another thread. */
static volatile int turns[4];

static void *take_turns(void *arg)
{
	volatile int *own = arg;

	while (*own < 100) {
		(*own)++;
		sched_yield();
	}
	return NULL;
}

static void yield_lets_others_run(void)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++) {
		turns[i] = 0;
		threads[i] = start_small_thread(take_turns, (void *)&turns[i]);
	}
	for (int64_t end = now_ns() + 20000000000; now_ns() < end; sched_yield())
		if (turns[0] + turns[1] + turns[2] + turns[3] == 400)
			break;
	IS(turns[0] + turns[1] + turns[2] + turns[3], 400);
	for (int i = 0; i < 4; i++)
		join_thread(threads[i]);
}

static volatile bool other_ran;

/* Only preemption lets the other thread run: the loop makes no system call. */
static void computing_is_interrupted(void)
{
	pthread_t thread;

	other_ran = false;
	thread = start_thread(set_flag, (void *)&other_ran);
	for (volatile long i = 0; i < 1500000000 && !other_ran; i++)
		;
	TRUE(other_ran);
	join_thread(thread);
}

static void concurrent_creation(void);

const struct check thread_checks[] = {
	{ "thread_join_value", join_value },
	{ "thread_exit_value", exit_value },
	{ "thread_self_equal", self_equal },
	{ "thread_thousand_in_turn", thousand_in_turn },
	{ "thread_sixty_four_at_once", sixty_four_at_once },
	{ "thread_detached", detached },
	{ "thread_own_stack", own_stack },
	{ "thread_deep_recursion", deep_recursion },
	{ "thread_limit_as_stack_size", limit_as_stack_size },
	{ "thread_attributes", attributes },
	{ "thread_local_data", thread_local },
	{ "thread_key_destructors", key_destructors },
	{ "thread_many_keys", many_keys },
	{ "thread_once", once },
	{ "thread_name", thread_name },
	{ "thread_yield", yield_lets_others_run },
	{ "thread_computing_is_interrupted", computing_is_interrupted },
	{ "thread_concurrent_creation", concurrent_creation },
	{ 0 }
};

/* Threads that start further threads. */
static void *start_children(void *arg)
{
	pthread_t children[8];
	long sum = 0;

	for (long i = 0; i < 8; i++)
		children[i] = start_small_thread(return_argument, (void *)((long)arg + i));
	for (int i = 0; i < 8; i++)
		sum += (long)join_thread(children[i]);
	return (void *)sum;
}

static void concurrent_creation(void)
{
	pthread_t threads[6];

	for (long i = 0; i < 6; i++)
		threads[i] = start_small_thread(start_children, (void *)(i * 10));
	for (long i = 0; i < 6; i++)
		IS((long)join_thread(threads[i]), 80 * i + 28);
}
