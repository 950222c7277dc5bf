/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Operations on files for the tests of live directories. The arguments are commands
 * with their operands; each prints a line.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char **next;

static char *operand(void)
{
	return *next ? *next++ : "";
}

static void report(const char *what, long result)
{
	if (result < 0)
		printf("%s: %s\n", what, strerror(errno));
	else
		printf("%s: %ld\n", what, result);
	fflush(stdout);
}

static void print_file(void)
{
	char text[256];
	int fd = open(operand(), O_RDONLY);
	long n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n < 0) {
		report("read", -1);
	} else {
		text[n] = 0;
		printf("read: %s\n", text);
	}
	fflush(stdout);
	if (fd >= 0)
		close(fd);
}

static void write_file(int flags)
{
	const char *path = operand(), *text = operand();
	int fd = open(path, O_WRONLY | flags, 0644);
	long n = fd < 0 ? -1 : write(fd, text, strlen(text));

	report("write", n);
	if (fd >= 0 && fsync(fd) < 0)
		report("fsync", -1);
	if (fd >= 0 && close(fd) < 0)
		report("close", -1);
}

static void write_new(void)
{
	write_file(O_CREAT | O_TRUNC);
}

static void append(void)
{
	write_file(O_CREAT | O_APPEND);
}

/* Waits for a line in a FIFO of the test. */
static void wait_line(void)
{
	printf("waiting\n");
	fflush(stdout);
	raise(SIGSTOP);
}

static void measure_small_reads(void)
{
	const char *path = operand();
	int count = atoi(operand());
	struct timespec from, to;
	static char data[4096];

	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < count; i++) {
		int fd = open(path, O_RDONLY);

		if (fd < 0 || read(fd, data, sizeof(data)) != sizeof(data)) {
			report("small", -1);
			return;
		}
		close(fd);
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	report("nanoseconds", ((to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec) / count);
}

static void measure_large(bool writes)
{
	const char *path = operand();
	long total = atol(operand()) << 20, done = 0, n = 1, size = 1 << 20;
	char *data = malloc(size);
	struct timespec from, to;
	int fd = open(path, writes ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0644);

	memset(data, 1, size);
	clock_gettime(CLOCK_MONOTONIC, &from);
	while (n > 0 && done < total) {
		n = writes ? write(fd, data, size) : read(fd, data, size);
		done += n;
	}
	close(fd);
	clock_gettime(CLOCK_MONOTONIC, &to);
	report(writes ? "write MB/s" : "read MB/s",
	       done * 1000 / ((to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec));
	free(data);
}

static void measure_write(void)
{
	measure_large(true);
}

static void measure_read(void)
{
	measure_large(false);
}

static void measure_create(void)
{
	const char *dir = operand();
	int count = atoi(operand());
	struct timespec from, to;
	char path[300];

	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/file%d", dir, i);
		int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);

		if (fd < 0 || write(fd, "x", 1) != 1) {
			report("create", -1);
			return;
		}
		close(fd);
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	report("create ns", ((to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec) / count);
}

static void list(void)
{
	DIR *dir = opendir(operand());
	long n = 0;

	while (dir && readdir(dir))
		n++;
	report("entries", dir ? n : -1);
	if (dir)
		closedir(dir);
}

int main(int argc __attribute__((unused)), char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} commands[] = {
		{ "cat", print_file }, { "write", write_new }, { "append", append }, { "stop", wait_line },
		{ "small", measure_small_reads }, { "bigwrite", measure_write }, { "bigread", measure_read },
		{ "create", measure_create }, { "list", list },
	};

	next = argv + 1;
	while (*next) {
		const char *name = *next++;
		size_t i = 0;

		for (; i < sizeof(commands) / sizeof(commands[0]); i++)
			if (!strcmp(commands[i].name, name))
				break;
		if (i == sizeof(commands) / sizeof(commands[0])) {
			printf("unknown command %s\n", name);
			return 2;
		}
		commands[i].run();
	}
	return 0;
}
