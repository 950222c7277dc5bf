/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Runs threads of all kinds at once, in rounds. Each thread counts its turns: one
 * without a turn for 20 seconds has lost a wake-up. All threads end after a round,
 * and the free memory must then be the same as after earlier rounds.
 */
#define _GNU_SOURCE
#include "check.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#define ROUNDS 6
#define PATIENCE 60000000000LL
/* Memory that the kernel may keep after a round for later use. */
#define SLACK_KB 512

struct worker {
	const char *name;
	bool (*turn)(struct worker *w);
	pthread_t thread;
	int number;
	unsigned seed;
	volatile long turns;
	int fd[2];
	char *memory;
	size_t size;
};

static volatile bool stopping;
static const char *volatile failed_worker;

#define MUST(condition)                                            \
	do {                                                       \
		if (!(condition)) {                                \
			failed_worker = w->name;                           \
			printf("%s: not true: %s (%s)\n", w->name, \
			       #condition, error_name(errno));     \
			return false;                              \
		}                                                  \
	} while (0)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long produced, consumed;

static bool produce(struct worker *w)
{
	(void)w;
	pthread_mutex_lock(&lock);
	while (produced - consumed >= 8 && !stopping)
		pthread_cond_wait(&changed, &lock);
	produced++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return true;
}

static bool consume(struct worker *w)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec++;
	pthread_mutex_lock(&lock);
	while (produced == consumed && !stopping)
		if (pthread_cond_timedwait(&changed, &lock, &t) == ETIMEDOUT)
			break;
	if (produced > consumed)
		consumed++;
	MUST(consumed <= produced);
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return true;
}

/* Sends back all that arrives on a descriptor. */
static void *echo(void *arg)
{
	char text[3000];
	int fd = *(int *)arg;
	ssize_t n;

	while ((n = read(fd, text, sizeof(text))) > 0 || (n == -1 && errno == EINTR))
		if (n > 0 && write(fd, text, n) != n)
			break;
	close(fd);
	return NULL;
}

/* Exchanges data with an echoing thread over a new pair of sockets. */
static bool exchange(struct worker *w, void (*connected)(int fd[2]))
{
	char text[3000], back[3000];
	size_t size = rand_r(&w->seed) % sizeof(text) + 1, done = 0;
	pthread_t thread;
	int fd[2] = { -1, -1 };

	connected(fd);
	MUST(fd[0] != -1);
	thread = start_small_thread(echo, &fd[1]);
	for (int i = 0; i < 20; i++, done = 0) {
		memset(text, rand_r(&w->seed), size);
		MUST(write(fd[0], text, size) == (ssize_t)size);
		while (done < size) {
			ssize_t n = read(fd[0], back + done, size - done);

			MUST(n > 0 || (n == -1 && errno == EINTR));
			done += n > 0 ? n : 0;
		}
		MUST(memcmp(text, back, size) == 0);
	}
	shutdown(fd[0], SHUT_RDWR);
	join_thread(thread);
	close(fd[0]);
	return true;
}

static void connect_tcp(int fd[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	struct linger hard = { 1, 0 };
	socklen_t size = sizeof(a);

	if (listener != -1 && bind(listener, (struct sockaddr *)&a, size) == 0 &&
	    listen(listener, 1) == 0) {
		getsockname(listener, (struct sockaddr *)&a, &size);
		fd[0] = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(fd[0], (struct sockaddr *)&a, size) == 0)
			fd[1] = accept(listener, NULL, NULL);
		/* A reset on close avoids ports in TIME_WAIT. */
		setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	}
	close(listener);
}

static void connect_unix(int fd[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == -1)
		fd[0] = -1;
}

static bool exchange_tcp(struct worker *w) { return exchange(w, connect_tcp); }
static bool exchange_unix(struct worker *w) { return exchange(w, connect_unix); }

static bool use_files(struct worker *w)
{
	char name[64], other[64], text[5000], back[5000];
	int size = rand_r(&w->seed) % 5000 + 1, fd;

	snprintf(name, sizeof(name), "file-%d-%d", w->number, rand_r(&w->seed) % 10);
	snprintf(other, sizeof(other), "other-%d", w->number);
	memset(text, rand_r(&w->seed), sizeof(text));
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	MUST(fd != -1);
	MUST(pwrite(fd, text, size, 0) == size);
	if (rand_r(&w->seed) % 16 == 0)
		MUST(fsync(fd) == 0);
	MUST(pread(fd, back, size, 0) == size && memcmp(text, back, size) == 0);
	MUST(close(fd) == 0);
	MUST(rename(name, other) == 0);
	MUST(unlink(other) == 0);
	return true;
}

static bool use_memory(struct worker *w)
{
	size_t size = (rand_r(&w->seed) % 40 + 1) * 4096;

	if (!w->memory) {
		w->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				 -1, 0);
		MUST(w->memory != MAP_FAILED);
		MUST(all_bytes(w->memory, 0, size));
		memset(w->memory, w->number, size);
		w->size = size;
		return true;
	}
	MUST(all_bytes(w->memory, w->number, w->size));
	if (rand_r(&w->seed) % 3) {
		w->memory = mremap(w->memory, w->size, size, MREMAP_MAYMOVE);
		MUST(w->memory != MAP_FAILED);
		memset(w->memory, w->number, size);
		w->size = size;
	} else {
		MUST(munmap(w->memory, w->size) == 0);
		w->memory = NULL;
	}
	return true;
}

static bool allocate(struct worker *w)
{
	void *at[20];

	for (int i = 0; i < 20; i++) {
		at[i] = malloc(rand_r(&w->seed) % 30000 + 1);
		MUST(at[i]);
		*(char *)at[i] = (char)i;
	}
	for (int i = 0; i < 20; i++) {
		MUST(*(char *)at[i] == (char)i);
		free(at[i]);
	}
	return true;
}

static bool sleep_shortly(struct worker *w)
{
	struct timespec t = { 0, rand_r(&w->seed) % 2000000 };

	nanosleep(&t, NULL);
	return true;
}

static bool wait_for_timer(struct worker *w)
{
	struct itimerspec t = { .it_value = { 0, rand_r(&w->seed) % 1000000 + 1 } };
	struct epoll_event e = { .events = EPOLLIN }, got;
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	int epoll = epoll_create1(EPOLL_CLOEXEC), n;
	uint64_t count;

	MUST(epoll != -1 && fd != -1);
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0 && timerfd_settime(fd, 0, &t, NULL) == 0);
	while ((n = epoll_wait(epoll, &got, 1, -1)) == -1 && errno == EINTR)
		;
	MUST(n == 1 && read(fd, &count, 8) == 8 && count == 1);
	MUST(close(fd) == 0 && close(epoll) == 0);
	return true;
}

static void *wait_forever(void *arg)
{
	for (;;)
		poll(NULL, 0, -1);
	return arg;
}

static bool cancel_thread(struct worker *w)
{
	pthread_t thread = start_small_thread(wait_forever, NULL);
	void *result;

	if (rand_r(&w->seed) % 2)
		sched_yield();
	MUST(pthread_cancel(thread) == 0);
	MUST(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
	return true;
}

static struct worker workers[40];
static int n_workers;
static volatile long signals_handled;

static void count_signal(int sig)
{
	(void)sig;
	signals_handled++;
}

/* Sends a signal to a random worker. */
static bool send_signal(struct worker *w)
{
	struct worker *to = &workers[rand_r(&w->seed) % n_workers];

	if (to->turns)
		MUST(pthread_kill(to->thread, SIGUSR1) == 0);
	sleep_ms(1);
	return true;
}

static void *work_until_stopped(void *arg)
{
	struct worker *w = arg;

	while (!stopping && !failed_worker && w->turn(w))
		w->turns++;
	if (w->memory)
		munmap(w->memory, w->size);
	w->memory = NULL;
	return NULL;
}

static void add_workers(const char *name, bool (*turn)(struct worker *w), int n)
{
	for (; n > 0; n--, n_workers++)
		workers[n_workers] = (struct worker){
			.name = name, .turn = turn, .number = n_workers, .seed = n_workers + 1,
		};
}

static long number_after(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? atol(at + strlen(name)) : 0;
}

/* Returns the free memory in kB after it drops the caches. */
static long free_memory(void)
{
	char text[4096] = "";
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	sync();
	(void)!write(fd, "3", 1);
	close(fd);
	fd = open("/proc/meminfo", O_RDONLY);
	(void)!read(fd, text, sizeof(text) - 1);
	close(fd);
	return number_after(text, "MemFree:");
}

/* Runs one round. Returns the name of a worker without progress, or NULL. */
static const char *run_round(double seconds)
{
	int64_t end = now_ns() + (int64_t)(seconds * 1e9), seen[40];
	long last[40] = { 0 };
	const char *stuck = NULL;

	stopping = false;
	for (int i = 0; i < n_workers; i++) {
		workers[i].turns = 0;
		seen[i] = now_ns();
		workers[i].thread = start_small_thread(work_until_stopped, &workers[i]);
	}
	/* A round lasts at least until each worker has had a turn. */
	for (bool all = false; !stuck && !failed_worker && (now_ns() < end || !all);) {
		sleep_ms(100);
		all = true;
		for (int i = 0; i < n_workers; i++) {
			if (workers[i].turns != last[i])
				seen[i] = now_ns();
			else if (now_ns() - seen[i] > PATIENCE)
				stuck = workers[i].name;
			last[i] = workers[i].turns;
			all = all && last[i];
		}
	}
	stopping = true;
	if (stuck)
		return stuck;
	pthread_mutex_lock(&lock);
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < n_workers; i++)
		join_thread(workers[i].thread);
	return NULL;
}

int stress(int seconds, const char *scratch)
{
	long free_after[ROUNDS], most = 0, turns = 0;

	mkdir(scratch, 0777);
	if (chdir(scratch) == -1)
		return perror(scratch), 2;
	set_handler(SIGUSR1, count_signal, SA_RESTART);
	signal(SIGPIPE, SIG_IGN);
	add_workers("producer", produce, 3);
	add_workers("consumer", consume, 3);
	add_workers("tcp", exchange_tcp, 3);
	add_workers("unix", exchange_unix, 3);
	add_workers("files", use_files, 4);
	add_workers("memory", use_memory, 4);
	add_workers("malloc", allocate, 3);
	add_workers("sleep", sleep_shortly, 3);
	add_workers("timer", wait_for_timer, 3);
	add_workers("cancel", cancel_thread, 2);
	add_workers("signal", send_signal, 1);
	for (int round = 0; round < ROUNDS; round++) {
		const char *stuck = run_round((double)seconds / ROUNDS);

		if (stuck)
			return printf("%s: no turn for 60 seconds\n", stuck), fflush(stdout), 1;
		if (failed_worker)
			return 1;
		for (int i = 0; i < n_workers; i++)
			turns += workers[i].turns;
		free_after[round] = free_memory();
		printf("round %d: %ld turns, %ld signals, %ld kB free\n", round + 1, turns,
		       signals_handled, free_after[round]);
		fflush(stdout);
	}
	/*
	 * The first rounds also allocate what exists only once. A leak shows in each of the
	 * last rounds; caches and lists of free pages vary by more than SLACK_KB.
	 */
	for (int round = ROUNDS - 3; round < ROUNDS; round++)
		most = free_after[round] > most ? free_after[round] : most;
	if (free_after[1] - most > SLACK_KB)
		return printf("%ld kB leaked\n", free_after[1] - most), 1;
	return 0;
}
