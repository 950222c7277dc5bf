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
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
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

static int held = -1;

/* Keeps a file open for "more" and "put". */
static void hold(void)
{
	held = open(operand(), O_RDWR);
	report("hold", held < 0 ? -1 : 0);
}

static void read_more(void)
{
	char text[256];
	long n = read(held, text, sizeof(text) - 1);

	if (n < 0) {
		report("more", -1);
		return;
	}
	text[n] = 0;
	printf("more: %s\n", text);
	fflush(stdout);
}

/* Reads on at the end of the file, as tail -f does. */
static void follow(void)
{
	char text[256] = "";
	long n;

	while ((n = read(held, text, sizeof(text) - 1)) == 0)
		usleep(1000);
	if (n < 0)
		report("follow", -1);
	else
		printf("follow: %s\n", text);
	fflush(stdout);
}

/* Waits until the test sends SIGUSR1. */
static void wait_for_test(void)
{
	sigset_t set;
	int signal;

	printf("waiting\n");
	fflush(stdout);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigwait(&set, &signal);
}

/* Prints what a private and a shared mapping of a file contain. */
static void map_file(void)
{
	int fd = open(operand(), O_RDONLY);
	char *private = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *shared = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	if (private == MAP_FAILED || shared == MAP_FAILED)
		report("map", -1);
	else
		printf("map: %s %s\n", private, shared);
	fflush(stdout);
	close(fd);
}

static void map_for_writing(void)
{
	int fd = open(operand(), O_RDWR);
	char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (shared == MAP_FAILED) {
		report("mapwrite", -1);
		return;
	}
	memcpy(shared, "MAP", 3);
	report("mapwrite", msync(shared, 4096, MS_SYNC));
	munmap(shared, 4096);
	close(fd);
}

static void use_unlinked(void)
{
	const char *path = operand();
	char text[8] = "";
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	if (fd < 0 || unlink(path) < 0 || pwrite(fd, "gone", 4, 0) != 4 || pread(fd, text, 4, 0) != 4)
		report("unlinked", -1);
	else
		printf("unlinked: %s\n", text);
	fflush(stdout);
	close(fd);
}

static void use_fifo(void)
{
	const char *path = operand();
	char c = 0;
	int fd = mkfifo(path, 0600) < 0 ? -1 : open(path, O_RDWR);

	report("fifo", fd < 0 || write(fd, "f", 1) != 1 || read(fd, &c, 1) != 1 || c != 'f' ? -1 : 0);
	close(fd);
}

static void use_socket(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(to.sun_path, operand());
	report("socket", bind(listener, (void *)&to, sizeof(to)) < 0 || listen(listener, 1) < 0 ||
			 connect(client, (void *)&to, sizeof(to)) < 0 ? -1 : 0);
	close(client);
	close(listener);
}

static void lock(void)
{
	const char *path = operand();
	int first = open(path, O_RDWR), second = open(path, O_RDWR);
	struct flock all = { .l_type = F_WRLCK };

	if (flock(first, LOCK_EX) < 0 || fcntl(first, F_OFD_SETLK, &all) < 0)
		report("lock", -1);
	report("flock", flock(second, LOCK_EX | LOCK_NB));
	report("ofd lock", fcntl(second, F_OFD_SETLK, &all));
	close(first);
	report("flock", flock(second, LOCK_EX | LOCK_NB));
	close(second);
}

static void write_sparse(void)
{
	int fd = open(operand(), O_RDWR | O_CREAT, 0600);
	char c = 0;

	if (fd < 0 || pwrite(fd, "s", 1, 1L << 32) != 1 || pread(fd, &c, 1, 1L << 32) != 1 || c != 's')
		report("sparse", -1);
	else
		report("sparse", lseek(fd, 0, SEEK_END));
	close(fd);
}

/* Writes until there is no space. */
static void fill(void)
{
	static char data[65536];
	int fd = open(operand(), O_WRONLY | O_CREAT, 0600);
	long done = 0, n;

	while ((n = write(fd, data, sizeof(data))) > 0)
		done += n;
	report("fill", n);
	report("filled", done);
	close(fd);
}

static void print_space(void)
{
	struct statvfs st;
	int err = statvfs(operand(), &st);

	report("space", err < 0 ? err : (long)(st.f_blocks * st.f_frsize));
}

static void print_mode(void)
{
	struct stat st;

	report("mode", stat(operand(), &st) < 0 ? -1 : (long)st.st_mode);
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

/* The page leaves the page cache, and is read again before fallocate() returns. */
static void punch_mapped(void)
{
	int fd = open(operand(), O_RDWR);
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED) {
		report("map", -1);
		return;
	}
	report("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	strcpy(map, "stored");
	report("fsync", fsync(fd));
	report("munmap", munmap(map, 4096));
}

static void map_again(void)
{
	int fd = open(operand(), O_RDWR);
	char *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	report("mapped", map == MAP_FAILED ? -1 : *map - '0');
	report("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	report("mapped", map == MAP_FAILED ? -1 : *map - '0');
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
		{ "cat", print_file }, { "write", write_new }, { "append", append }, { "wait", wait_for_test },
		{ "hold", hold }, { "more", read_more }, { "follow", follow }, { "map", map_file }, { "mapwrite", map_for_writing },
		{ "mappunch", punch_mapped }, { "mapagain", map_again },
		{ "unlinked", use_unlinked }, { "fifo", use_fifo }, { "socket", use_socket },
		{ "lock", lock }, { "sparse", write_sparse }, { "fill", fill }, { "space", print_space },
		{ "mode", print_mode },
		{ "small", measure_small_reads }, { "bigwrite", measure_write }, { "bigread", measure_read },
		{ "create", measure_create }, { "list", list },
	};

	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
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
