/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Measures operations on files in a directory:
 *
 *	files MODE DIRECTORY COUNT
 *
 * open	opens, reads and closes a file of 4 KiB, COUNT times
 * write	writes a file of COUNT MiB, without fsync
 * read	reads a file of COUNT MiB, which it first writes
 * create	creates COUNT empty files
 * stat	reads the attributes of COUNT files
 * readdir	reads a directory of COUNT files, ten times
 *
 * The rate is in MB (10^6 bytes) or operations per second; latencies are those of
 * one operation, and of one entry for readdir. Preparations are not measured.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "measure.h"

#define PART (128 << 10)	/* bytes of a sequential operation */
#define SMALL 4096		/* size of the file that is opened */
#define DURATIONS_MAX (1 << 17)
#define LISTINGS 10

static _Alignas(4096) char buffer[PART];
static int64_t durations[DURATIONS_MAX];
static size_t n_durations;
static int64_t started;

static void start(void)
{
	n_durations = 0;
	started = now_ns();
}

static void end_operation(int64_t since)
{
	if (n_durations < DURATIONS_MAX)
		durations[n_durations++] = now_ns() - since;
}

static void transfer(int fd, size_t parts, int write)
{
	for (size_t i = 0; i < parts; i++) {
		off_t at = (off_t)(i * PART);
		int64_t since = now_ns();
		long n = write ? pwrite(fd, buffer, PART, at) : pread(fd, buffer, PART, at);

		if (check(write ? "write" : "read", n) != PART)
			die("short transfer");
		end_operation(since);
	}
}

static double measure_transfer(size_t mib, int write)
{
	size_t parts = mib * (1 << 20) / PART;
	int fd = (int)check("open", open("large", O_CREAT | O_TRUNC | O_RDWR, 0644));

	memset(buffer, 'x', PART);
	if (!write) {
		transfer(fd, parts, 1);
		check("close", close(fd));
		fd = (int)check("open", open("large", O_RDONLY));
	}
	start();
	transfer(fd, parts, write);
	return (double)parts * PART / 1e6;
}

static double measure_open(size_t count)
{
	int fd = (int)check("open", open("small", O_CREAT | O_TRUNC | O_WRONLY, 0644));

	check("write", write(fd, buffer, SMALL));
	check("close", close(fd));
	start();
	for (size_t i = 0; i < count; i++) {
		int64_t since = now_ns();

		fd = (int)check("open", open("small", O_RDONLY));
		if (check("read", read(fd, buffer, SMALL)) != SMALL)
			die("short read");
		check("close", close(fd));
		end_operation(since);
	}
	return (double)count;
}

static double create_files(size_t count)
{
	char name[32];

	start();
	for (size_t i = 0; i < count; i++) {
		int64_t since = now_ns();

		snprintf(name, sizeof(name), "file%zu", i);
		check("close", close((int)check("create", open(name, O_CREAT | O_EXCL | O_WRONLY, 0644))));
		end_operation(since);
	}
	return (double)count;
}

static double measure_stat(size_t count)
{
	struct stat st;
	char name[32];

	create_files(count);
	start();
	for (size_t i = 0; i < count; i++) {
		int64_t since = now_ns();

		snprintf(name, sizeof(name), "file%zu", i);
		check("stat", stat(name, &st));
		end_operation(since);
	}
	return (double)count;
}

static double measure_readdir(size_t count)
{
	create_files(count);
	start();
	for (int i = 0; i < LISTINGS; i++) {
		size_t n = 0;
		int64_t since = now_ns();
		DIR *d = opendir(".");

		if (!d)
			die("opendir");
		while (readdir(d))
			n++;
		closedir(d);
		if (n != count + 2)
			die("missing entries");
		end_operation(since);
		durations[n_durations - 1] /= (int64_t)n;
	}
	return (double)count * LISTINGS;
}

int main(int argc, char **argv)
{
	const char *mode = argc == 4 ? argv[1] : "";
	size_t count = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	double amount;

	if (count == 0) {
		fprintf(stderr, "usage: files MODE DIRECTORY COUNT\n");
		return 1;
	}
	check(argv[2], chdir(argv[2]));
	if (!strcmp(mode, "open"))
		amount = measure_open(count);
	else if (!strcmp(mode, "write") || !strcmp(mode, "read"))
		amount = measure_transfer(count, mode[0] == 'w');
	else if (!strcmp(mode, "create"))
		amount = create_files(count);
	else if (!strcmp(mode, "stat"))
		amount = measure_stat(count);
	else if (!strcmp(mode, "readdir"))
		amount = measure_readdir(count);
	else
		return fprintf(stderr, "files: unknown mode %s\n", mode), 1;
	print_result(amount, now_ns() - started, durations, n_durations);
	return 0;
}
