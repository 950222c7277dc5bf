/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Runs the cases:
 *
 *	check [-l] [-s DIRECTORY] [-w SECONDS] [-x NAME] SCRATCH [NAME ...]
 *
 * -l lists their names; -s gives a directory of a small file system, to be
 * filled; -w the time that one case may take (60 s); -x leaves a case out.
 * Named cases alone are run, in the program's order; a name ending in * stands
 * for all that begin so. The exit status is 0 if all passed, 1 if not, 2 if a
 * case did not end or the arguments are wrong.
 *
 *	check --end [NAME]
 *
 * ends in one of several ways, or lists them.
 *
 *	check --stress SECONDS SCRATCH
 *
 * runs threads of every kind at once, and fails if one does not get on or memory
 * is lost.
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <sys/time.h>

static const struct check *const lists[] = {
	thread_checks, mutex_checks, cond_checks, rwlock_checks, cancel_checks,
	c11_checks, timer_checks, clock_checks, signal_checks,
	signal_wait_checks, signal_thread_checks, open_checks, file_checks,
	name_checks, attribute_checks, lock_checks, directory_checks,
	space_checks, copy_checks, memory_checks, map_checks, protection_checks,
	direct_checks, pipe_checks, poll_checks, epoll_checks, event_checks,
	inotify_checks, inet_checks, option_checks, unix_checks, passing_checks,
	resolve_checks, process_checks, spawn_checks, fault_checks,
	system_checks, ipc_checks, stdio_checks, number_checks, math_checks,
};

const char *small_directory;
int check_argc;
char **check_argv;

static char scratch[512];
static const char *left_out[64];
static int n_left_out, limit = 60;

static pthread_t runner;
static sigjmp_buf out_of_case;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool failed;
static char failure[1024];

/* What the watchdog looks at: the case that runs, and since when. */
static const char *volatile current;
static volatile int64_t since;

void check_failed(const char *what, const char *want, const char *got)
{
	pthread_mutex_lock(&lock);
	if (!failed)
		snprintf(failure, sizeof(failure), "%s: expected %s, got %s",
			 what, want, got);
	failed = true;
	pthread_mutex_unlock(&lock);
	if (pthread_equal(pthread_self(), runner))
		siglongjmp(out_of_case, 1);
}

/* A case that hangs cannot be taken back: the run ends with it. */
static void *watch(void *arg)
{
	(void)arg;
	for (;;) {
		pause_ms(500);
		if (current && now() - since > limit * 1000000000LL)
			break;
	}
	printf("%s: expected an end, got none\n", current);
	fflush(stdout);
	_exit(2);
}

static void start_watchdog(void)
{
	sigset_t all, before;
	pthread_t thread;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_create(&thread, NULL, watch, NULL);
	pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st, (void)type;
	if (f->level > 0)
		return remove(path), 0;
	return 0;
}

/* Leaves nothing of one case to the next. */
static void clear(const char *directory, const bool *open_before)
{
	const struct itimerval never = { 0 };
	sigset_t none;

	for (int fd = 0; fd < 1024; fd++)
		if (!open_before[fd] && fcntl(fd, F_GETFD) != -1)
			close(fd);
	setitimer(ITIMER_REAL, &never, NULL);
	setitimer(ITIMER_VIRTUAL, &never, NULL);
	setitimer(ITIMER_PROF, &never, NULL);
	for (int sig = 1; sig < 65; sig++)
		if (sig < 32 || sig >= SIGRTMIN) {
			/* To ignore it throws away what is pending. */
			signal(sig, SIG_IGN);
			signal(sig, SIG_DFL);
		}
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	umask(022);
	nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	if (chdir(scratch) == 0)
		rmdir(directory);
}

static bool run(const struct check *c)
{
	static bool open_before[1024];
	static char directory[600];

	for (int fd = 0; fd < 1024; fd++)
		open_before[fd] = fcntl(fd, F_GETFD) != -1;
	snprintf(directory, sizeof(directory), "%s/%s", scratch, c->name);
	if (mkdir(directory, 0777) == -1 || chdir(directory) == -1) {
		printf("%s: expected a directory, got %s\n", c->name, error_name(errno));
		return false;
	}
	failed = false;
	since = now();
	current = c->name;
	if (sigsetjmp(out_of_case, 0) == 0)
		c->run();
	current = NULL;
	pthread_mutex_lock(&lock);
	if (failed)
		printf("%s: %s\n", c->name, failure);
	else
		printf("ok %s\n", c->name);
	pthread_mutex_unlock(&lock);
	fflush(stdout);
	clear(directory, open_before);
	return !failed;
}

static bool matches(const char *name, const char *pattern)
{
	size_t n = strlen(pattern);

	if (n && pattern[n - 1] == '*')
		return strncmp(name, pattern, n - 1) == 0;
	return strcmp(name, pattern) == 0;
}

static bool wanted(const struct check *c, char **names)
{
	for (int i = 0; i < n_left_out; i++)
		if (matches(c->name, left_out[i]))
			return false;
	if (!*names)
		return !c->on_request;
	for (; *names; names++)
		if (matches(c->name, *names))
			return !c->on_request || strcmp(c->name, *names) == 0;
	return false;
}

static void list_names(void)
{
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		for (const struct check *c = lists[i]; c->name; c++)
			printf("%s%s\n", c->name, c->on_request ? " (on request)" : "");
}

static int usage(void)
{
	fprintf(stderr, "usage: check [-l] [-s DIRECTORY] [-w SECONDS] [-x NAME] SCRATCH [NAME ...]\n");
	return 2;
}

int main(int argc, char **argv)
{
	int option, passed = 0, bad = 0;

	check_argc = argc;
	check_argv = argv;
	if (argc > 1 && strcmp(argv[1], "--child") == 0)
		return argc > 2 ? atoi(argv[2]) : 0;
	if (argc > 1 && strcmp(argv[1], "--end") == 0)
		return end_as(argv[2]);
	if (argc == 4 && strcmp(argv[1], "--stress") == 0)
		return stress(atoi(argv[2]), argv[3]);
	while ((option = getopt(argc, argv, "+ls:w:x:")) != -1) {
		if (option == 'l')
			return list_names(), 0;
		else if (option == 's')
			small_directory = optarg;
		else if (option == 'w')
			limit = atoi(optarg);
		else if (option == 'x' && n_left_out < 64)
			left_out[n_left_out++] = optarg;
		else
			return usage();
	}
	if (optind == argc)
		return usage();
	if (mkdir(argv[optind], 0777) == -1 && errno != EEXIST)
		return perror(argv[optind]), 2;
	if (chdir(argv[optind]) == -1 || !getcwd(scratch, sizeof(scratch)))
		return perror(argv[optind]), 2;
	umask(022);
	/* Descriptors of whoever has started this are none of ours. */
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	runner = pthread_self();
	start_watchdog();
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		for (const struct check *c = lists[i]; c->name; c++) {
			if (!wanted(c, argv + optind + 1))
				continue;
			if (run(c))
				passed++;
			else
				bad++;
		}
	printf("%d passed, %d failed\n", passed, bad);
	return bad != 0;
}
