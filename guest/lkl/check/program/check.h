/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The check program consists of many small cases. Each prints one line: whether
 * the system keeps a promise of POSIX or Linux. The same source runs natively and
 * in the guest, and a test compares the output. A line therefore never contains
 * an address, a duration or a property of the machine.
 *
 * A case is a function without arguments that runs in a new, empty directory. Its
 * first failed check ends it; in other threads a failed check is only recorded.
 * After each case the program closes descriptors, resets handlers, timers and the
 * signal mask, and removes files.
 *
 * ../README.md explains how to write a case.
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
	bool on_request;	/* run only if named, since it may end a guest */
};

/* The lists of cases. Each ends with an entry without a name. */
extern const struct check thread_checks[], mutex_checks[], cond_checks[],
	rwlock_checks[], cancel_checks[], c11_checks[], timer_checks[],
	clock_checks[], signal_checks[], signal_wait_checks[],
	signal_thread_checks[], open_checks[], file_checks[], name_checks[],
	attribute_checks[], lock_checks[], directory_checks[], space_checks[],
	copy_checks[], memory_checks[], memory_file_checks[], map_checks[],
	map_account_checks[], shared_map_checks[], protection_checks[], direct_checks[], preemption_checks[], pipe_checks[],
	poll_checks[], epoll_checks[], event_checks[], inotify_checks[],
	inet_checks[], option_checks[], unix_checks[], passing_checks[],
	resolve_checks[], process_checks[], spawn_checks[], fault_checks[],
	system_checks[], ipc_checks[], stdio_checks[], number_checks[], math_checks[], header_checks[];

/* A call that must not return -1. Evaluates to its result. */
#define OK(call) check_ok(#call, (long long)(call))
/* A call that must return -1 and set errno to this error. */
#define FAILS(call, error) check_fails(#call, (long long)(call), (error))
/* A call that must return this number. */
#define GIVES(call, want) check_gives(#call, (long long)(call), (long long)(want))
/* An integer that must have this value. */
#define IS(value, want) check_is(#value, (long long)(value), (long long)(want))
/* A pthread function that must return 0, or this error number. */
#define ZERO(call) check_error(#call, (call), 0)
#define ERROR(call, error) check_error(#call, (call), (error))
/* A condition that must hold. */
#define TRUE(condition) check_true(#condition, (condition))
/* A string that must equal this one. */
#define TEXT(text, want) check_text(#text, (text), (want))
/* A call of mmap or mremap that must succeed. Evaluates to the address. */
#define MAP(call) check_map(#call, (call))
/* A pointer that must not be NULL. Evaluates to the pointer. */
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
/* Records a failure, and ends the case if this is the thread that runs it. */
void check_failed(const char *what, const char *want, const char *got);

/* Returns the name of an errno value, such as "EINVAL". */
const char *error_name(int error);

/* Start and join a thread. */
pthread_t start_thread(void *(*run)(void *), void *arg);
void *join_thread(pthread_t thread);
/* Starts a thread with a small stack, for cases with many threads. */
pthread_t start_small_thread(void *(*run)(void *), void *arg);

/* Returns the time of the monotonic clock. */
int64_t now_ns(void);
/* Sleeps, for a shorter time if a signal arrives. */
void sleep_ms(int ms);
/* A condition that must become true within 20 seconds. */
#define SOON(condition) check_soon(#condition, ({ 			\
	int64_t end_ = now_ns() + 20000000000;				\
	while (!(condition) && now_ns() < end_)				\
		sleep_ms(1);						\
	(condition); }))
void check_soon(const char *what, bool got);
/* Waits until the thread with this kernel ID sleeps in a system call. */
void wait_until_asleep(volatile pid_t *tid);
pid_t thread_id(void);
/* Sets a signal handler with these flags of sigaction. */
void set_handler(int signal, void (*handler)(int), int flags);
/* Returns a set with one signal. */
sigset_t signal_set(int signal);

/* Writes a text to a file; returns the first 1023 bytes of a file. */
void put_file(const char *path, const char *text);
const char *get_file(const char *path);
/* Returns whether all bytes have this value. */
bool all_bytes(const void *at, int value, size_t size);

/* A directory on a small file system, or NULL without the option -s. */
extern const char *small_directory;
/* Ends the program in the named way, or lists the names for NULL. */
int end_program(const char *name);
/* Runs threads of all kinds, and returns the exit status. */
int stress(int seconds, const char *scratch);

/* This program's arguments. */
extern int check_argc;
extern char **check_argv;

#endif
