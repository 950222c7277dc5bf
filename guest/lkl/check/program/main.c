/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Runs the cases:
 *
 *	check [-l] [-s DIRECTORY] [-w SECONDS] [-x NAME] SCRATCH [NAME ...]
 *
 * -l lists their names. -s names a directory on a small file system, which cases
 * may fill. -w limits the duration of a case (60 s). -x excludes a case. NAME
 * selects cases, which still run in the program's order; a trailing * stands for
 * any suffix. The exit status is 0 if all cases pass, 1 if one fails, and 2 if a
 * case exceeds its limit or the arguments are invalid.
 *
 *	check --end [NAME]
 *
 * ends in the named way, or lists the names.
 *
 *	check --stress SECONDS SCRATCH
 *
 * runs threads of all kinds at once, and fails if a thread makes no progress or
 * memory leaks.
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <sys/time.h>

static const struct check *const case_lists[] = {
	thread_checks, preemption_checks, mutex_checks, cond_checks, rwlock_checks, cancel_checks,
	c11_checks, timer_checks, clock_checks, signal_checks,
	signal_wait_checks, signal_thread_checks, open_checks, file_checks,
	name_checks, attribute_checks, lock_checks, directory_checks,
	space_checks, copy_checks, memory_checks, memory_file_checks, map_checks,
	map_account_checks, shared_map_checks, protection_checks, direct_checks, pipe_checks, poll_checks, epoll_checks, event_checks,
	inotify_checks, inet_checks, option_checks, unix_checks, passing_checks,
	resolve_checks, process_checks, spawn_checks, fault_checks,
	system_checks, ipc_checks, stdio_checks, number_checks, math_checks, header_checks,
};

const char *small_directory;
int check_argc;
char **check_argv;

static char scratch[512];
static const char *excluded[64];
static int n_excluded, case_limit_s = 60;

static pthread_t runner;
static sigjmp_buf leave_case;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool failed;
static char failure[1024];

/* The running case and its start, for the watchdog. */
static const char *volatile running_case;
static volatile int64_t running_since;

void check_failed(const char *what, const char *want, const char *got)
{
	pthread_mutex_lock(&lock);
	if (!failed)
		snprintf(failure, sizeof(failure), "%s: expected %s, got %s",
			 what, want, got);
	failed = true;
	pthread_mutex_unlock(&lock);
	if (pthread_equal(pthread_self(), runner))
		siglongjmp(leave_case, 1);
}

/* Ends the program if a case exceeds its limit: a case cannot be cancelled. */
static void *watch_cases(void *arg)
{
	(void)arg;
	for (;;) {
		sleep_ms(500);
		if (running_case && now_ns() - running_since > case_limit_s * 1000000000LL)
			break;
	}
	printf("%s: expected an end, got none\n", running_case);
	fflush(stdout);
	_exit(2);
}

static void start_watchdog(void)
{
	sigset_t all, before;
	pthread_t thread;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_create(&thread, NULL, watch_cases, NULL);
	pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static int remove_file(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st, (void)type;
	if (f->level > 0)
		return remove(path), 0;
	return 0;
}

/* Removes all that a case may have left, so that it cannot affect the next. */
static void clean_up(const char *directory, const bool *open_before)
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
			/* Ignoring a signal discards a pending one. */
			signal(sig, SIG_IGN);
			signal(sig, SIG_DFL);
		}
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	umask(022);
	nftw(directory, remove_file, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	if (chdir(scratch) == 0)
		rmdir(directory);
}

static bool run_case(const struct check *c)
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
	running_since = now_ns();
	running_case = c->name;
	if (sigsetjmp(leave_case, 0) == 0)
		c->run();
	running_case = NULL;
	pthread_mutex_lock(&lock);
	if (failed)
		printf("%s: %s\n", c->name, failure);
	else
		printf("ok %s\n", c->name);
	pthread_mutex_unlock(&lock);
	fflush(stdout);
	clean_up(directory, open_before);
	return !failed;
}

static bool matches(const char *name, const char *pattern)
{
	size_t n = strlen(pattern);

	if (n && pattern[n - 1] == '*')
		return strncmp(name, pattern, n - 1) == 0;
	return strcmp(name, pattern) == 0;
}

static bool is_selected(const struct check *c, char **names)
{
	for (int i = 0; i < n_excluded; i++)
		if (matches(c->name, excluded[i]))
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
	for (size_t i = 0; i < sizeof(case_lists) / sizeof(case_lists[0]); i++)
		for (const struct check *c = case_lists[i]; c->name; c++)
			printf("%s%s\n", c->name, c->on_request ? " (on request)" : "");
}

static int usage(void)
{
	fprintf(stderr, "usage: check [-l] [-s DIRECTORY] [-w SECONDS] [-x NAME] "
			"SCRATCH [NAME ...]\n");
	return 2;
}

int main(int argc, char **argv)
{
	int option, passed = 0, failures = 0;

	check_argc = argc;
	check_argv = argv;
	if (argc > 1 && strcmp(argv[1], "--child") == 0)
		return argc > 2 ? atoi(argv[2]) : 0;
	if (argc > 1 && strcmp(argv[1], "--end") == 0)
		return end_program(argv[2]);
	if (argc == 4 && strcmp(argv[1], "--stress") == 0)
		return stress(atoi(argv[2]), argv[3]);
	while ((option = getopt(argc, argv, "+ls:w:x:")) != -1) {
		if (option == 'l')
			return list_names(), 0;
		else if (option == 's')
			small_directory = optarg;
		else if (option == 'w')
			case_limit_s = atoi(optarg);
		else if (option == 'x' && n_excluded < 64)
			excluded[n_excluded++] = optarg;
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
	/* Close descriptors inherited from the parent process. */
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	runner = pthread_self();
	start_watchdog();
	for (size_t i = 0; i < sizeof(case_lists) / sizeof(case_lists[0]); i++)
		for (const struct check *c = case_lists[i]; c->name; c++) {
			if (!is_selected(c, argv + optind + 1))
				continue;
			if (run_case(c))
				passed++;
			else
				failures++;
		}
	printf("%d passed, %d failed\n", passed, failures);
	return failures != 0;
}
