/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The check program: many small cases, each of which says in one line whether
 * the system under it keeps a promise of POSIX or Linux. The same source runs
 * natively and in the guest, and prints the same wherever it does: no number of
 * a machine, an address or a duration is ever part of a line.
 *
 * A case is a function without arguments, run in an empty directory of its own.
 * Its checks end it with the first that fails (in other threads than the one
 * that runs the cases they note the failure and go on). What it leaves behind
 * when it fails, descriptors, handlers, the mask, files, is cleared away.
 */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct check {
	const char *name;
	void (*run)(void);
	bool on_request;	/* only if named: it may end a guest */
};

/* The files of cases; each list ends in a null name. */
extern const struct check thread_checks[], mutex_checks[], cond_checks[],
	rwlock_checks[], cancel_checks[], c11_checks[], timer_checks[],
	clock_checks[], signal_checks[], signal_wait_checks[],
	signal_thread_checks[], open_checks[], file_checks[], name_checks[],
	attribute_checks[], lock_checks[], directory_checks[], space_checks[],
	copy_checks[], memory_checks[], map_checks[], protection_checks[],
	direct_checks[], pipe_checks[],
	poll_checks[], epoll_checks[], event_checks[], inotify_checks[],
	inet_checks[], option_checks[], unix_checks[], passing_checks[],
	resolve_checks[], process_checks[], spawn_checks[], fault_checks[],
	system_checks[], ipc_checks[], stdio_checks[], number_checks[], math_checks[];

/* Success is any result but -1; the result is handed on. */
#define OK(call) check_ok(#call, (long long)(call))
/* -1 and this errno. */
#define FAILS(call, error) check_fails(#call, (long long)(call), (error))
/* A system call whose result is a count. */
#define GIVES(call, want) check_gives(#call, (long long)(call), (long long)(want))
/* An integer. */
#define IS(value, want) check_is(#value, (long long)(value), (long long)(want))
/* What pthread functions return: 0, or an error number. */
#define ZERO(call) check_error(#call, (call), 0)
#define ERROR(call, error) check_error(#call, (call), (error))
/* A condition. */
#define TRUE(condition) check_true(#condition, (condition))
/* A text. */
#define TEXT(text, want) check_text(#text, (text), (want))
/* A mapping, or a pointer that must not be null; the pointer is handed on. */
#define MAP(call) check_map(#call, (call))
#define SOME(call) check_some(#call, (call))

long long check_ok(const char *what, long long got);
void check_fails(const char *what, long long got, int error);
void check_gives(const char *what, long long got, long long want);
void check_is(const char *what, long long got, long long want);
void check_error(const char *what, int got, int want);
void check_true(const char *what, bool got);
void check_text(const char *what, const char *got, const char *want);
void *check_map(const char *what, void *got);
void *check_some(const char *what, void *got);
/* The failure itself: its arguments are what was done, expected and got. */
void check_failed(const char *what, const char *want, const char *got);

/* "EINVAL", "SIGTERM"; a number if it has no name. */
const char *error_name(int error);

/* A thread, and its end. */
pthread_t start(void *(*run)(void *), void *arg);
void *finish(pthread_t thread);
/* The same with a small stack, for many threads. */
pthread_t start_small(void *(*run)(void *), void *arg);

/* Nanoseconds of the monotonic clock. */
int64_t now(void);
/* Sleeps without looking at the result. */
void pause_ms(int ms);
/* True as soon as the condition holds; false if it does not within seconds. */
#define SOON(condition) check_soon(#condition, ({ 			\
	int64_t end_ = now() + 20000000000;				\
	while (!(condition) && now() < end_)				\
		pause_ms(1);						\
	(condition); }))
void check_soon(const char *what, bool got);
/* Waits until the thread of that kernel id sleeps in a system call. */
void until_asleep(volatile pid_t *tid);
pid_t thread_id(void);
/* Sets a handler without flags, or with. */
void on_signal(int signal, void (*handler)(int), int flags);
/* A set with one signal. */
sigset_t set_of(int signal);

/* A file of the given text, and the text of a file (of at most 1023 bytes). */
void put_file(const char *path, const char *text);
const char *get_file(const char *path);
/* The bytes at a place, all of this value? */
bool all_bytes(const void *at, int value, size_t size);

/* The directory on a small file system; the case's own if none was given. */
extern const char *small_directory;
/* Ends as it is called; without a name, lists the names. */
int end_as(const char *name);
/* Threads of every kind for so long; the exit status. */
int stress(int seconds, const char *scratch);

/* This program's arguments. */
extern int check_argc;
extern char **check_argv;

#endif
