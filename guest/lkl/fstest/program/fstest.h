/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The program consists of many small cases about files and directories. A case prints
 * the result of each call that it makes, and expects nothing: a test runs the same
 * source natively and in a guest, and compares the output. A line therefore never
 * contains an inode number, a time or a property of the machine.
 *
 * A case is a function that runs in a new, empty directory with mode 0777. After each
 * case the program closes descriptors, becomes the first user again and removes files.
 */
#ifndef FSTEST_H
#define FSTEST_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* An unprivileged user of the cases. */
#define USER 1000
#define OTHER 1001

struct fs_case {
	const char *name;
	void (*run)(void);
	bool root;	/* needs root */
};

/* The lists of cases. Each ends with an entry without a name. */
extern const struct fs_case mode_cases[], permission_cases[], link_cases[],
	rename_cases[], remove_cases[], open_cases[], data_cases[], space_cases[],
	copy_cases[], map_cases[], lock_cases[], time_cases[], kind_cases[],
	directory_cases[], xattr_cases[], name_cases[];

/* Prints a call with its result: a number, or the name of the error. */
#define TRY(call) fs_try(#call, (long long)(call))
/* Prints whether a call that returns a descriptor succeeds. */
#define OPEN(call) fs_open(#call, (call))
/* Prints an expression with its value. */
#define SHOW(value) fs_show(#value, (long long)(value))
#define OCTAL(value) fs_octal(#value, (unsigned int)(value))
#define TEXT(text) fs_text(#text, (text))

long long fs_try(const char *call, long long result);
int fs_open(const char *call, int fd);
void fs_show(const char *expression, long long value);
void fs_octal(const char *expression, unsigned int value);
void fs_text(const char *expression, const char *text);
/* Prints a label before the lines of a loop. */
void fs_label(const char *label);

/* Become another user, and the first one again. */
void become(uid_t user, gid_t group);
void become_first(void);
/* Gives up root for good. */
bool start_as_user(void);

/* Creates a file with this content. */
void put_file(const char *path, const char *text);
/* Returns the first 1023 bytes of a file, or the name of the error. */
const char *get_file(const char *path);
/* Returns the attributes of a file itself. All are 0 if it does not exist. */
struct stat attributes(const char *path);
mode_t mode_of(const char *path);
/* Returns whether all bytes have this value. */
bool all_bytes(const void *at, int value, size_t size);
/* Waits until files that change have a later time than now. */
void next_tick(void);
/* Compares times: -1, 0 or 1. */
int compare_times(struct timespec a, struct timespec b);
/* Returns the number of entries of a directory besides . and .., or -1. */
long count_entries(const char *path);

/* The kinds of files that every user may create. */
#define KINDS 5
extern const char *const kind_names[KINDS];
/* Creates a file of a kind, and prints an error only. */
void make_kind(int kind, const char *path);

#endif
