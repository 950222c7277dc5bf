/* SPDX-License-Identifier: MPL-2.0 */
/* Carries out the commands in its arguments, and prints the results for a test. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static volatile sig_atomic_t caught;

static void print_result(const char *command, long result)
{
	printf("%s: %s\n", command, result < 0 ? strerror(errno) : "done");
}

static void print_identity(void)
{
	char dir[256], host[64];

	gethostname(host, sizeof(host));
	printf("uid %d gid %d groups %d directory %s host %s\n", getuid(), getgid(),
	       getgroups(0, NULL), getcwd(dir, sizeof(dir)), host);
}

static void print_environment(void)
{
	for (char **e = environ; *e; e++)
		printf("environment %s\n", *e);
}

/* Does not use stdio, which would allocate memory. */
static void print_file(const char *path)
{
	static char text[8192];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? fd : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n < 0) {
		print_result(path, -1);
		return;
	}
	text[n] = 0;
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		printf("%s: %s\n", path, line);
}

static void write_file(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);

	print_result("write", fd < 0 ? fd : write(fd, "written\n", 8));
	close(fd);
}

/* Writes to a file until the disk is full. */
static void fill(const char *path)
{
	static char block[1 << 16];
	int fd = open(path, O_CREAT | O_WRONLY, 0644);
	long n;

	while ((n = write(fd, block, sizeof(block))) > 0)
		;
	print_result("fill", n);
	print_result("fsync", fsync(fd));
	close(fd);
}

/* Allocates and touches memory until malloc fails. */
static void allocate_all(void)
{
	size_t total = 0;
	char *p;

	while ((p = malloc(1 << 16))) {
		memset(p, 1, 1 << 16);
		total += 1 << 16;
	}
	print_result("allocate", -1);
	printf("allocated %zu MiB\n", total >> 20);
}

/*
 * Allocates all memory in pieces whose size is not that of a block, and frees them
 * in alternating order, three times.
 */
static void reallocate_all(void)
{
	static void *pieces[512];
	int n;

	for (int i = 0; i < 3; i++) {
		for (n = 0; n < 512 && (pieces[n] = malloc(2 << 20)); n++)
			;
		printf("pieces %d\n", n);
		for (int j = 0; j < n; j++)
			free(pieces[i % 2 ? n - 1 - j : j]);
	}
}

/* Tries all ways to start a process. */
static void try_processes(void)
{
	char *const args[] = { "/bin/true", NULL };
	pid_t pid;

	print_result("fork", fork());
	print_result("vfork", vfork());
	errno = posix_spawn(&pid, "/bin/true", NULL, NULL, args, environ);
	print_result("posix_spawn", errno ? -1 : 0);
	print_result("system", system("true"));
	print_result("popen", popen("true", "r") ? 0 : -1);
	print_result("execve", execve("/bin/true", args, environ));
}

static void note_signal(int signal)
{
	caught = signal;
}

/* Changes a file through a mapping that exists until the program ends. */
static void map_shared(const char *path)
{
	int fd = open(path, O_CREAT | O_RDWR, 0644);
	char *p;

	ftruncate(fd, 8192);
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	print_result("map", p == MAP_FAILED ? -1 : 0);
	if (p != MAP_FAILED)
		memcpy(p + 4096, "mapped", 6);
}

/* Waits for a signal and prints its number. */
static void catch_signal(int signal)
{
	struct sigaction action = { .sa_handler = note_signal };

	sigaction(signal, &action, NULL);
	printf("waiting for %d\n", signal);
	fflush(stdout);
	while (!caught)
		pause();
	printf("caught %d\n", caught);
}

static void print_random(void)
{
	unsigned char bytes[16];

	getrandom(bytes, sizeof(bytes), 0);
	printf("random ");
	for (size_t i = 0; i < sizeof(bytes); i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void print_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	printf("time %lld\n", t.tv_sec * 1000000000LL + t.tv_nsec);
}

static void *tick(void *counter)
{
	for (;;) {
		usleep(10000);
		++*(volatile int *)counter;
	}
	return NULL;
}

/* Reads the clock in a loop, at least for a second. Another thread must still run. */
static void compute(void)
{
	volatile int ticks = 0;
	pthread_t thread;
	long end = now_ms() + 1000;

	pthread_create(&thread, NULL, tick, (void *)&ticks);
	while (now_ms() < end || (ticks < 50 && now_ms() < end + 60000))
		;
	printf("busy: %s\n", ticks >= 50 ? "others ran" : "others did not run");
}

static pthread_spinlock_t lock;

static void *hold_lock(void *unused)
{
	pthread_spin_lock(&lock);
	usleep(50000);
	pthread_spin_unlock(&lock);
	return unused;
}

/* Waits for a spin lock whose holder sleeps. */
static void contend_for_lock(void)
{
	pthread_t thread;

	pthread_spin_init(&lock, 0);
	pthread_create(&thread, NULL, hold_lock, NULL);
	usleep(10000);
	pthread_spin_lock(&lock);
	printf("spinlock: done\n");
}

/* Passes invalid pointers to system calls, which must fail. */
static void pass_invalid_pointers(void)
{
	static const struct {
		const char *name;
		void *pointer;
	} pointers[] = {
		{ "null", NULL },
		{ "low", (void *)0x8000 },
		{ "beyond", (void *)(1L << 40) },
		{ "negative", (void *)-8L },
		{ "text", (void *)pass_invalid_pointers },
	};
	int fds[2], fd = open("/dev/zero", O_RDONLY);

	if (pipe(fds) < 0)
		return;
	for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]); i++) {
		printf("%s ", pointers[i].name);
		print_result("read", read(fd, pointers[i].pointer, 16));
		if (pointers[i].pointer == pass_invalid_pointers)
			continue;
		printf("%s ", pointers[i].name);
		print_result("write", write(fds[1], pointers[i].pointer, 16));
		printf("%s ", pointers[i].name);
		print_result("open", open(pointers[i].pointer, O_RDONLY));
	}
}

static int list_directory(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int n = 0;

	if (!d) {
		print_result(path, -1);
		return 1;
	}
	errno = 0;
	while ((e = readdir(d)))
		n++;
	if (errno)
		print_result("list", -1);
	else
		printf("list: %d entries\n", n);
	return 0;
}

/* Sends a datagram. The argument is "FROM,TO", two addresses. */
static void send_datagram(char *addresses)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM };
	struct addrinfo *from, *to;
	char *comma = strchr(addresses, ',');
	int fd;

	*comma = 0;
	if (getaddrinfo(addresses, "7", &hints, &from) || getaddrinfo(comma + 1, "7", &hints, &to))
		return;
	fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(fd, from->ai_addr, from->ai_addrlen) < 0 ||
	    sendto(fd, "", 1, 0, to->ai_addr, to->ai_addrlen) < 0)
		print_result("send", -1);
	close(fd);
	freeaddrinfo(from);
	freeaddrinfo(to);
}

/* Connects a socket, and prints its source address or the error. */
static void print_route(const char *command, const char *address, int type)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = type }, *to;
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	char text[INET6_ADDRSTRLEN];
	int fd;

	if (getaddrinfo(address, "7", &hints, &to))
		return;
	printf("%s ", command);
	fd = socket(to->ai_family, type | SOCK_CLOEXEC, 0);
	if (connect(fd, to->ai_addr, to->ai_addrlen) < 0) {
		print_result(address, -1);
	} else {
		getsockname(fd, (struct sockaddr *)&from, &len);
		getnameinfo((struct sockaddr *)&from, len, text, sizeof(text), NULL, 0,
			    NI_NUMERICHOST);
		printf("%s: from %s\n", address, text);
	}
	close(fd);
	freeaddrinfo(to);
}

static void print_input(void)
{
	char c;

	print_result("input", read(STDIN_FILENO, &c, 1));
}

static unsigned long add_word(unsigned long hash, const char *word)
{
	do
		hash = (hash ^ (unsigned char)*word) * 1099511628211UL;
	while (*word++);
	return hash;
}

/* Prints a digest (FNV-1a) of the arguments and the environment with their NULs. */
static void print_digest(int argc, char **argv)
{
	unsigned long hash = 14695981039346656037UL;
	int variables = 0;

	for (int i = 1; i < argc; i++)
		hash = add_word(hash, argv[i]);
	for (char **e = environ; *e; e++, variables++)
		hash = add_word(hash, *e);
	printf("digest of %d arguments and %d variables: %016lx\n", argc - 1, variables, hash);
}

static void print_kernel(void)
{
	struct utsname u;

	uname(&u);
	printf("uname %s %s\n", u.sysname, u.release);
}

/* Runs a command with an argument. Returns 0 if there is no such command. */
static int act_with_value(const char *word, char *value)
{
	if (!strcmp(word, "file"))
		print_file(value);
	else if (!strcmp(word, "write"))
		write_file(value);
	else if (!strcmp(word, "fill"))
		fill(value);
	else if (!strcmp(word, "list"))
		list_directory(value);
	else if (!strcmp(word, "map"))
		map_shared(value);
	else if (!strcmp(word, "catch"))
		catch_signal(atoi(value));
	else if (!strcmp(word, "raise"))
		raise(atoi(value));
	else if (!strcmp(word, "sleep"))
		usleep(atoi(value) * 1000);
	else if (!strcmp(word, "exit"))
		exit(atoi(value));
	else if (!strcmp(word, "reboot"))
		print_result("reboot",
			     reboot(strcmp(value, "halt") ? RB_AUTOBOOT : RB_HALT_SYSTEM));
	else if (!strcmp(word, "connect"))
		print_route(word, value, SOCK_STREAM);
	else if (!strcmp(word, "route"))
		print_route(word, value, SOCK_DGRAM);
	else if (!strcmp(word, "send"))
		send_datagram(value);
	else if (!strcmp(word, "say"))
		printf("%s\n", value);
	else
		return 0;
	return 1;
}

/* Runs a command without an argument. */
static void act(const char *word)
{
	static const struct {
		const char *word;
		void (*act)(void);
	} acts[] = {
		{ "identity", print_identity },
		{ "environment", print_environment },
		{ "allocate", allocate_all },
		{ "reallocate", reallocate_all },
		{ "fork", try_processes },
		{ "random", print_random },
		{ "busy", compute },
		{ "spinlock", contend_for_lock },
		{ "pointers", pass_invalid_pointers },
		{ "sync", sync },
		{ "abort", abort },
		{ "input", print_input },
		{ "uname", print_kernel },
		{ "time", print_time },
	};

	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		if (!strcmp(acts[i].word, word)) {
			acts[i].act();
			return;
		}
	if (!strcmp(word, "null"))
		*(volatile int *)0 = 1;
	printf("unknown word %s\n", word);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1 && !strcmp(argv[1], "digest")) {
		print_digest(argc, argv);
		return 0;
	}
	for (int i = 1; i < argc; i++)
		if (i + 1 < argc && act_with_value(argv[i], argv[i + 1]))
			i++;
		else
			act(argv[i]);
	return 0;
}
