/* SPDX-License-Identifier: MPL-2.0 */
/* Does what its arguments tell it, one word after the other, so that a test sees how the guest takes it. */
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

static void result(const char *what, long failed)
{
	printf("%s: %s\n", what, failed < 0 ? strerror(errno) : "done");
}

static void say_identity(void)
{
	char dir[256], host[64];

	gethostname(host, sizeof(host));
	printf("uid %d gid %d groups %d directory %s host %s\n", getuid(), getgid(), getgroups(0, NULL),
	       getcwd(dir, sizeof(dir)), host);
}

static void say_environment(void)
{
	for (char **e = environ; *e; e++)
		printf("environment %s\n", *e);
}

/* Without stdio, which wants memory. */
static void say_file(const char *path)
{
	static char text[8192];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? fd : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n < 0) {
		result(path, -1);
		return;
	}
	text[n] = 0;
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		printf("%s: %s\n", path, line);
}

static void write_file(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);

	result("write", fd < 0 ? fd : write(fd, "written\n", 8));
	close(fd);
}

/* Writes until there is no room. */
static void fill(const char *path)
{
	static char block[1 << 16];
	int fd = open(path, O_CREAT | O_WRONLY, 0644);
	long n;

	while ((n = write(fd, block, sizeof(block))) > 0)
		;
	result("fill", n);
	result("fsync", fsync(fd));
	close(fd);
}

/* Takes memory until there is none; all of it is touched. */
static void eat(void)
{
	size_t total = 0;
	char *p;

	while ((p = malloc(1 << 16))) {
		memset(p, 1, 1 << 16);
		total += 1 << 16;
	}
	result("eat", -1);
	printf("ate %zu MiB\n", total >> 20);
}

/* Takes all memory in pieces of a size for which there is no block, and gives it back in an order that turns the blocks. */
static void again(void)
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

static void fork_all(void)
{
	char *const args[] = { "/bin/true", NULL };
	pid_t pid;

	result("fork", fork());
	result("vfork", vfork());
	errno = posix_spawn(&pid, "/bin/true", NULL, NULL, args, environ);
	result("posix_spawn", errno ? -1 : 0);
	result("system", system("true"));
	result("popen", popen("true", "r") ? 0 : -1);
	result("execve", execve("/bin/true", args, environ));
}

static void handler(int signal)
{
	caught = signal;
}

/* Changes a file by a mapping that is still there at the end. */
static void map_shared(const char *path)
{
	int fd = open(path, O_CREAT | O_RDWR, 0644);
	char *p;

	ftruncate(fd, 8192);
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	result("map", p == MAP_FAILED ? -1 : 0);
	if (p != MAP_FAILED)
		memcpy(p + 4096, "mapped", 6);
}

/* Waits for a signal and tells it; ends by itself after that. */
static void catch(int signal)
{
	struct sigaction action = { .sa_handler = handler };

	sigaction(signal, &action, NULL);
	printf("waiting for %d\n", signal);
	fflush(stdout);
	while (!caught)
		pause();
	printf("caught %d\n", caught);
}

static void random_bytes(void)
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

static void say_time(void)
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

/* Computes for a second, looking at the clock: another thread's timer must go on. */
static void busy(void)
{
	volatile int ticks = 0;
	pthread_t thread;
	long end = now_ms() + 1000;

	pthread_create(&thread, NULL, tick, (void *)&ticks);
	while (now_ms() < end)
		;
	printf("busy: %s\n", ticks >= 50 ? "others ran" : "others did not run");
}

static pthread_spinlock_t lock;

static void *hold(void *unused)
{
	pthread_spin_lock(&lock);
	usleep(50000);
	pthread_spin_unlock(&lock);
	return unused;
}

/* Spins on a lock whose holder sleeps. */
static void spin(void)
{
	pthread_t thread;

	pthread_spin_init(&lock, 0);
	pthread_create(&thread, NULL, hold, NULL);
	usleep(10000);
	pthread_spin_lock(&lock);
	printf("spin: done\n");
}

/* What the kernel must refuse instead of dying of. */
static void wild(void)
{
	static const struct {
		const char *name;
		void *pointer;
	} wild[] = {
		{ "null", NULL }, { "low", (void *)0x8000 }, { "beyond", (void *)(1L << 40) }, { "negative", (void *)-8L },
		{ "text", (void *)wild },
	};
	int fds[2], fd = open("/dev/zero", O_RDONLY);

	if (pipe(fds) < 0)
		return;
	for (size_t i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
		printf("%s ", wild[i].name);
		result("read", read(fd, wild[i].pointer, 16));
		if (wild[i].pointer == wild)
			continue;
		printf("%s ", wild[i].name);
		result("write", write(fds[1], wild[i].pointer, 16));
		printf("%s ", wild[i].name);
		result("open", open(wild[i].pointer, O_RDONLY));
	}
}

static int list(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int n = 0;

	if (!d) {
		result(path, -1);
		return 1;
	}
	errno = 0;
	while ((e = readdir(d)))
		n++;
	if (errno)
		result("list", -1);
	else
		printf("list: %d entries\n", n);
	return 0;
}

/* Sends a datagram: "FROM,TO". */
static void send_from(char *addresses)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM }, *from, *to;
	char *comma = strchr(addresses, ',');
	int fd;

	*comma = 0;
	if (getaddrinfo(addresses, "7", &hints, &from) || getaddrinfo(comma + 1, "7", &hints, &to))
		return;
	fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(fd, from->ai_addr, from->ai_addrlen) < 0 || sendto(fd, "", 1, 0, to->ai_addr, to->ai_addrlen) < 0)
		result("send", -1);
	close(fd);
	freeaddrinfo(from);
	freeaddrinfo(to);
}

/* What a connection to there ends with, or the address that it would come from. */
static void reach(const char *word, const char *address, int type)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = type }, *to;
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	char text[INET6_ADDRSTRLEN];
	int fd;

	if (getaddrinfo(address, "7", &hints, &to))
		return;
	printf("%s ", word);
	fd = socket(to->ai_family, type | SOCK_CLOEXEC, 0);
	if (connect(fd, to->ai_addr, to->ai_addrlen) < 0) {
		result(address, -1);
	} else {
		getsockname(fd, (struct sockaddr *)&from, &len);
		getnameinfo((struct sockaddr *)&from, len, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
		printf("%s: from %s\n", address, text);
	}
	close(fd);
	freeaddrinfo(to);
}

static void say_input(void)
{
	char c;

	result("input", read(STDIN_FILENO, &c, 1));
}

static void say_kernel(void)
{
	struct utsname u;

	uname(&u);
	printf("uname %s %s\n", u.sysname, u.release);
}

static int with_value(const char *word, char *value)
{
	if (!strcmp(word, "file"))
		say_file(value);
	else if (!strcmp(word, "write"))
		write_file(value);
	else if (!strcmp(word, "fill"))
		fill(value);
	else if (!strcmp(word, "list"))
		list(value);
	else if (!strcmp(word, "map"))
		map_shared(value);
	else if (!strcmp(word, "catch"))
		catch(atoi(value));
	else if (!strcmp(word, "raise"))
		raise(atoi(value));
	else if (!strcmp(word, "sleep"))
		usleep(atoi(value) * 1000);
	else if (!strcmp(word, "exit"))
		exit(atoi(value));
	else if (!strcmp(word, "reboot"))
		result("reboot", reboot(strcmp(value, "halt") ? RB_AUTOBOOT : RB_HALT_SYSTEM));
	else if (!strcmp(word, "connect"))
		reach(word, value, SOCK_STREAM);
	else if (!strcmp(word, "route"))
		reach(word, value, SOCK_DGRAM);
	else if (!strcmp(word, "send"))
		send_from(value);
	else if (!strcmp(word, "say"))
		printf("%s\n", value);
	else
		return 0;
	return 1;
}

static void alone(const char *word)
{
	static const struct {
		const char *word;
		void (*act)(void);
	} acts[] = {
		{ "identity", say_identity }, { "environment", say_environment }, { "eat", eat }, { "fork", fork_all },
		{ "again", again },
		{ "random", random_bytes }, { "busy", busy }, { "spin", spin }, { "wild", wild }, { "sync", sync },
		{ "abort", abort }, { "input", say_input },
		{ "uname", say_kernel }, { "time", say_time },
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
	for (int i = 1; i < argc; i++)
		if (i + 1 < argc && with_value(argv[i], argv[i + 1]))
			i++;
		else
			alone(argv[i]);
	return 0;
}
