/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Carries out the commands in its arguments, one after the other, and prints a line for each:
 * the command, its first argument, and the result.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t hangups;

static void hang_up(int signal)
{
	(void)signal;
	hangups++;
}

static void result(const char *command, const char *path, long err)
{
	printf("%s %s: %s\n", command, path, err < 0 ? strerror(errno) : "done");
}

/* Reads a file of up to a page. Returns its length, or -1. */
static ssize_t content(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;

	text[0] = 0;
	if (fd < 0)
		return -1;
	n = read(fd, text, size - 1);
	text[n < 0 ? 0 : n] = 0;
	close(fd);
	return n;
}

static void do_read(char **args)
{
	char text[4096];

	if (content(args[0], text, sizeof(text)) < 0)
		result("read", args[0], -1);
	else
		printf("read %s: %s\n", args[0], text);
}

static void do_write(char **args)
{
	int fd = open(args[0], O_WRONLY | O_CREAT | O_TRUNC, 0640);
	ssize_t n = fd < 0 ? -1 : write(fd, args[1], strlen(args[1]));

	result("write", args[0], n);
	if (fd >= 0)
		close(fd);
}

/* Waits until a file has a content. */
static void do_await(char **args)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	char text[4096];

	while (content(args[0], text, sizeof(text)) < 0 || strcmp(text, args[1]))
		nanosleep(&pause, NULL);
	printf("await %s: %s\n", args[0], text);
}

/* Reads a file at SIGHUP. */
static void do_reload(char **args)
{
	struct timespec pause = { .tv_nsec = 5000000 };
	int before = hangups;

	printf("reload %s: waiting\n", args[0]);
	while (hangups == before)
		nanosleep(&pause, NULL);
	do_read(args);
}

static void do_stat(char **args)
{
	struct stat s;

	if (lstat(args[0], &s) < 0)
		result("stat", args[0], -1);
	else
		printf("stat %s: mode %o uid %d gid %d size %lld\n", args[0], s.st_mode, s.st_uid,
		       s.st_gid, (long long)s.st_size);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void do_list(char **args)
{
	struct dirent **names;
	int n = scandir(args[0], &names, NULL, by_name);

	if (n < 0) {
		result("list", args[0], -1);
		return;
	}
	printf("list %s:", args[0]);
	for (int i = 0; i < n; i++)
		if (names[i]->d_name[0] != '.')
			printf(" %s", names[i]->d_name);
	printf("\n");
}

static void do_space(char **args)
{
	struct statvfs s;

	if (statvfs(args[0], &s) < 0)
		result("space", args[0], -1);
	else
		printf("space %s: %llu\n", args[0], (unsigned long long)s.f_blocks * s.f_frsize);
}

/* Writes until the file system is full. */
static void do_fill(char **args)
{
	static char block[1 << 16];
	int fd = open(args[0], O_WRONLY | O_CREAT, 0600);
	long sum = 0, n = -1;

	while (fd >= 0 && (n = write(fd, block, sizeof(block))) > 0)
		sum += n;
	printf("fill %s: %ld bytes, %s\n", args[0], sum, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* Opens the file, says so, and reads it again and again until that fails. */
static void do_hold(char **args)
{
	struct timespec pause = { .tv_nsec = 5000000 };
	char text[4096];

	printf("hold %s: open\n", args[0]);
	while (content(args[0], text, sizeof(text)) >= 0)
		nanosleep(&pause, NULL);
	result("hold", args[0], -1);
}

static void do_mkdir(char **args) { result("mkdir", args[0], mkdir(args[0], 0750)); }
static void do_remove(char **args) { result("remove", args[0], remove(args[0])); }
static void do_rename(char **args) { result("rename", args[0], rename(args[0], args[1])); }
static void do_symlink(char **args) { result("symlink", args[1], symlink(args[0], args[1])); }
static void do_chmod(char **args) { result("chmod", args[0], chmod(args[0], strtol(args[1], NULL, 8))); }
static void do_exit(char **args) { exit(atoi(args[0])); }

static void do_chown(char **args)
{
	result("chown", args[0], lchown(args[0], atoi(args[1]), atoi(args[1])));
}

static void do_say(char **args) { printf("%s\n", args[0]); }

static const struct {
	const char *name;
	int args;
	void (*run)(char **args);
} commands[] = {
	{ "read", 1, do_read }, { "write", 2, do_write }, { "await", 2, do_await },
	{ "reload", 1, do_reload }, { "stat", 1, do_stat }, { "list", 1, do_list },
	{ "space", 1, do_space }, { "fill", 1, do_fill }, { "hold", 1, do_hold },
	{ "mkdir", 1, do_mkdir }, { "remove", 1, do_remove }, { "rename", 2, do_rename },
	{ "symlink", 2, do_symlink }, { "chmod", 2, do_chmod }, { "chown", 2, do_chown },
	{ "exit", 1, do_exit }, { "say", 1, do_say },
};

int main(int argc, char **argv)
{
	const struct sigaction reload = { .sa_handler = hang_up };

	sigaction(SIGHUP, &reload, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc;) {
		size_t c = 0;

		while (c < sizeof(commands) / sizeof(commands[0]) && strcmp(commands[c].name, argv[i]))
			c++;
		if (c == sizeof(commands) / sizeof(commands[0]) || i + commands[c].args >= argc) {
			printf("unknown command or too few arguments: %s\n", argv[i]);
			return 2;
		}
		commands[c].run(argv + i + 1);
		i += 1 + commands[c].args;
	}
	return 0;
}
