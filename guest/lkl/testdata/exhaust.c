/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Uses up the memory, most of all by files in memory. The arguments are commands with
 * their operands; each prints a line. A command that fills something ends with the first
 * error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define KIB 1024L

static char **next;

static char *operand(void)
{
	return *next ? *next++ : "";
}

static void report(const char *what, long n, int error)
{
	if (error)
		printf("%s: %ld, %s\n", what, n, strerror(error));
	else
		printf("%s: %ld\n", what, n);
	fflush(stdout);
}

/* Returns KiB. */
static long write_all(int fd, long most)
{
	static char block[64 * KIB];
	long done = 0, n;

	memset(block, 'x', sizeof(block));
	do {
		n = write(fd, block, sizeof(block));
		if (n > 0)
			done += n;
	} while (n > 0 && done < most * KIB);
	return done / KIB;
}

static void fill(void)
{
	int fd = open(operand(), O_WRONLY | O_CREAT | O_APPEND, 0666);
	long done = fd == -1 ? 0 : write_all(fd, 1 << 30);

	report("fill", done, errno);
	if (fd != -1)
		close(fd);
}

static void fill_memfd(void)
{
	int fd = memfd_create("filled", 0);
	long done = write_all(fd, 1 << 30);

	report("fill-memfd", done, errno);
	close(fd);
}

static void reserve(void)
{
	int fd = open(operand(), O_RDWR | O_CREAT, 0666);
	long kib = atol(operand());
	struct stat st;

	errno = 0;
	fallocate(fd, 0, 0, kib * KIB);
	fstat(fd, &st);
	report("reserve", st.st_blocks / 2, errno);
	close(fd);
}

/* Each name is long, so that it takes memory of its own. */
static const char *long_name(const char *dir, long i)
{
	static char path[300];

	snprintf(path, sizeof(path), "%s/%0200ld", dir, i);
	return path;
}

static bool make_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);

	return fd != -1 && close(fd) == 0;
}

static bool make_small_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
	bool ok = fd != -1 && write(fd, "x", 1) == 1;

	return (fd == -1 || close(fd) == 0) && ok;
}

static bool make_link(const char *path)
{
	return link("/tmp/linked", path) == 0;
}

static bool make_directory(const char *path)
{
	return mkdir(path, 0777) == 0;
}

static bool make_symlink(const char *path)
{
	return symlink(path, path) == 0;
}

static void make_many(const char *what, bool (*make)(const char *))
{
	const char *dir = operand();
	long i;

	mkdir(dir, 0777);
	for (i = 0; make(long_name(dir, i)); i++)
		;
	report(what, i, errno);
}

static void files(void)
{
	make_many("files", make_file);
}

static void small_files(void)
{
	make_many("small-files", make_small_file);
}

static void directories(void)
{
	make_many("directories", make_directory);
}

static void symlinks(void)
{
	make_many("symlinks", make_symlink);
}

static void links(void)
{
	make_file("/tmp/linked");
	make_many("links", make_link);
}

/* Removes what the above have made. */
static void clear(void)
{
	const char *dir = operand();
	long i;

	for (i = 0; remove(long_name(dir, i)) == 0; i++)
		;
	report("clear", i, 0);
}

static void xattrs(void)
{
	static char value[60000];
	const char *path = operand();
	char name[30];
	long i;

	make_file(path);
	for (i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "user.%ld", i);
		if (setxattr(path, name, value, sizeof(value), 0) == -1)
			break;
	}
	report("xattrs", i, errno);
}

static void drop(void)
{
	const char *path = operand();

	errno = 0;
	report("drop", unlink(path), errno);
}

/* Takes memory in pieces of 256 KiB, until that fails. */
/* Pieces of 64 KiB fit between pages of the kernel that leave no room for 256. */
static void allocate(void)
{
	long kib = atol(operand()), done = 0, piece;
	void *p = NULL;

	errno = 0;
	for (piece = 256; piece >= 64; piece /= 4) {
		for (; done < kib; done += piece) {
			p = mmap(NULL, piece * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (p == MAP_FAILED)
				break;
			memset(p, 1, piece * KIB);
		}
	}
	report("allocate", done, errno);
}

static void space(void)
{
	struct statvfs st;

	statvfs(operand(), &st);
	printf("space: %ld of %ld, files %ld of %ld\n", (long)(st.f_bavail * st.f_frsize / KIB),
	       (long)(st.f_blocks * st.f_frsize / KIB), (long)st.f_ffree, (long)st.f_files);
	fflush(stdout);
}

/* Maps a file of the given size, in KiB, without touching it. */
static void map(void)
{
	int fd = open(operand(), O_RDWR | O_CREAT, 0666);
	long kib = atol(operand());
	void *p;

	ftruncate(fd, kib * KIB);
	errno = 0;
	p = mmap(NULL, kib * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	report("map", p != MAP_FAILED, errno);
	close(fd);
}

/* Maps ever larger parts of a file. */
static void map_largest(void)
{
	int fd = open(operand(), O_RDWR | O_CREAT, 0666);
	long kib = KIB;
	void *p;

	for (;; kib += KIB) {
		ftruncate(fd, kib * KIB);
		p = mmap(NULL, kib * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p == MAP_FAILED)
			break;
		munmap(p, kib * KIB);
	}
	report("map-largest", kib, errno);
	close(fd);
}

static void available(void)
{
	char line[200];
	FILE *f = fopen("/proc/meminfo", "r");
	long kib = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	report("available", kib, 0);
}

static void *write_in_thread(void *arg)
{
	char path[30];
	int fd;

	for (int i = 0; i < 20; i++) {
		snprintf(path, sizeof(path), "/tmp/thread-%ld", (long)arg);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
		write_all(fd, 1 << 20);
		close(fd);
		unlink(path);
	}
	return NULL;
}

/* Threads fill the same file system, while another maps and unmaps memory. */
static void together(void)
{
	pthread_t threads[4];

	for (long i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, write_in_thread, (void *)i);
	for (int i = 0; i < 2000; i++) {
		void *p = mmap(NULL, 512 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			continue;
		memset(p, 1, 512 * KIB);
		munmap(p, 512 * KIB);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	report("together", 0, 0);
}

/* Fills the buffers of sockets. */
static void sockets(void)
{
	static char block[32 * KIB];
	int pair[2];
	long i;

	for (i = 0; socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0; i++)
		while (write(pair[0], block, sizeof(block)) > 0)
			;
	report("sockets", i, errno);
}

static const struct {
	const char *name;
	void (*run)(void);
} commands[] = {
	{ "fill", fill },
	{ "fill-memfd", fill_memfd },
	{ "reserve", reserve },
	{ "files", files },
	{ "small-files", small_files },
	{ "directories", directories },
	{ "symlinks", symlinks },
	{ "links", links },
	{ "clear", clear },
	{ "xattrs", xattrs },
	{ "drop", drop },
	{ "allocate", allocate },
	{ "space", space },
	{ "map", map },
	{ "map-largest", map_largest },
	{ "available", available },
	{ "together", together },
	{ "sockets", sockets },
};

int main(int argc, char **argv)
{
	(void)argc;
	for (next = argv + 1; *next;) {
		const char *name = operand();
		size_t i;

		for (i = 0; i < sizeof(commands) / sizeof(commands[0]) && strcmp(commands[i].name, name); i++)
			;
		if (i == sizeof(commands) / sizeof(commands[0]))
			return fprintf(stderr, "unknown command %s\n", name), 2;
		commands[i].run();
	}
	return 0;
}
