/* SPDX-License-Identifier: MPL-2.0 */
/* pid 1 from its start to the guest's end. */
#include "start.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>

/* linux/random.h */
#define RNDADDENTROPY _IOW('R', 3, int[2])

/* The kernel's private calls for the start program: end the guest; write back and close files that are mapped; see fsgsbase. */
#define LKL_NR_EXIT 0x4c4b0001
#define LKL_NR_UNMAP 0x4c4b0002
#define LKL_NR_FSGSBASE 0x4c4b0011

/* Of the kernel: the words of the host, and how often memory ran out. */
extern const char *lkl_cmdline;
extern unsigned int lkl_out_of_memory;

static char line[8192];
static struct words words;
static struct config config;
static long program;
static long stop_signal;	/* what the host wants the program to end by; 0: nothing so far */

_Noreturn void finish(int status)
{
	CALL(SYS_kill, -1, SIGKILL);
	while (CALL(SYS_wait4, -1, 0, 0, 0) > 0)
		;
	CALL(LKL_NR_UNMAP);
	unmount_all();
	CALL(SYS_sync);
	for (;;)
		CALL(LKL_NR_EXIT, status);
}

/* name=value;name=value, a dot in a name for a slash in its path. */
void sysctl_set(const struct config *c)
{
	char path[160];
	const char *p = c->sysctl;

	while (p && *p) {
		const char *end = strchr(p, ';') ? strchr(p, ';') : p + strlen(p), *eq = strchr(p, '=');
		char value[256] = "";
		size_t n = strlen(strcpy(path, "/proc/sys/"));
		long err = -22;

		if (eq && eq < end && eq - p < 128 && end - eq < 256) {
			for (; p < eq; p++)
				path[n++] = *p == '.' ? '/' : *p;
			path[n] = 0;
			memcpy(value, eq + 1, end - eq - 1);
			err = write_file(path, value);
		}
		if (err < 0)
			say("lkl: sysctl ", path + 10, " = ", value, ": ", reason(err), NULL);
		p = *end ? end + 1 : end;
	}
}

/* What RNDADDENTROPY takes: linux/random.h, struct rand_pool_info. */
struct pool {
	int bits, size;
	unsigned char bytes[512];
};

/* Random bytes of the host's count as what they are: eight bits each. */
static void add_pool(struct pool *pool)
{
	long fd = CALL(SYS_open, "/dev/urandom", O_RDWR);

	pool->bits = pool->size * 8;
	if (pool->size > 0 && fd >= 0)
		CALL(SYS_ioctl, fd, RNDADDENTROPY, pool);
	CALL(SYS_close, fd);
}

/* From the configuration, in hexadecimal. */
static void add_entropy(const char *hex)
{
	static struct pool pool;

	for (; hex && pool.size < (int)sizeof(pool.bytes); hex += 2) {
		int high = digit(hex[0]), low = high < 0 ? -1 : digit(hex[1]);

		if (low < 0)
			break;
		pool.bytes[pool.size++] = high << 4 | low;
	}
	add_pool(&pool);
}

/* From a file that the host has put into the root: used once, and removed so that no second start takes the same. */
static void add_seed_file(void)
{
	static const char path[] = "/root/etc/random-seed";
	static struct pool pool;
	long fd = CALL(SYS_open, path, O_RDONLY);

	if (fd < 0)
		return;
	pool.size = CALL(SYS_read, fd, pool.bytes, sizeof(pool.bytes));
	CALL(SYS_close, fd);
	if (CALL(SYS_unlink, path) == 0)
		add_pool(&pool);
}

/* The configuration's, else the first line of the root's /etc/hostname. */
static void set_hostname(const char *name)
{
	char text[65] = "";
	long fd;

	if (!name && (fd = CALL(SYS_open, "/root/etc/hostname", O_RDONLY)) >= 0) {
		CALL(SYS_read, fd, text, sizeof(text) - 1);
		CALL(SYS_close, fd);
		text[strcspn(text, "\n")] = 0;
		name = text;
	}
	if (name && *name && CALL(SYS_sethostname, name, strlen(name)) < 0)
		say("lkl: not a host name: ", name, NULL);
}

static void prepare(void)
{
	size_t n = strlen(lkl_cmdline);

	if (n >= sizeof(line) || !words_split(&words, memcpy(line, lkl_cmdline, n + 1))) {
		say("lkl: the command line is too long", NULL);
		finish(EXIT_WORDS);
	}
	if (words.config && !config_read(&config, words.config))
		finish(EXIT_WORDS);
	if (config.fsgsbase && !strcmp(config.fsgsbase, "1"))
		CALL(LKL_NR_FSGSBASE);
	disks_offer(&config);
	mount_all(&config);
	add_entropy(config.entropy);
	add_seed_file();
	set_hostname(config.hostname);
	network_up(&config);
	sysctl_set(&config);
}

static void delay_main(void)
{
	long us = setting("delay_main", config.delay, 0, 1L << 50);
	struct timespec delay = { us / 1000000, us % 1000000 * 1000 };

	if (us)
		CALL(SYS_nanosleep, &delay, 0);
}

/*
 * "signal N" or "stop N": both deliver a signal. After the second the host waits for the program's end, which is the
 * guest's in any case. What is no text is not for us: where a tap stands in for the host's socket, its own stack sends
 * Ethernet frames.
 */
static void obey(char *frame, long n)
{
	char *text = NULL;
	long signal;

	if (n < 1 || frame[0] < 'a' || frame[0] > 'z')
		return;
	if (n > 7 && !memcmp(frame, "signal ", 7))
		text = frame + 7;
	else if (n > 5 && !memcmp(frame, "stop ", 5))
		text = frame + 5;
	while (n > 0 && (frame[n - 1] == '\n' || !frame[n - 1]))
		n--;
	frame[n] = 0;
	signal = number(text, 0);
	if (signal < 1 || signal > 64) {
		say("lkl: unknown frame on the control device: ", frame, NULL);
		return;
	}
	if (text == frame + 5 || signal == SIGKILL)
		stop_signal = signal;
	CALL(SYS_kill, program, signal);
}

/* The program was ended by a signal that the host has not asked for: says why, as far as that can be known. */
static void explain(int signal)
{
	char text[4] = { '0' + signal / 10, '0' + signal % 10 };

	if (signal == stop_signal)
		return;
	if (signal == SIGKILL && lkl_out_of_memory)
		say("lkl: the program was ended because the guest's memory is used up: give it more, or make it use less", NULL);
	else
		say("lkl: the program was ended by signal ", signal < 10 ? text + 1 : text, " (", signal_name(signal), ")", NULL);
}

/* The kernel tells that the guest cannot go on: a device is gone, which it has said. */
static void take_signals(long fd)
{
	struct signalfd_siginfo info;

	while (CALL(SYS_read, fd, &info, sizeof(info)) > 0)
		if (info.ssi_signo == SIGPWR) {
			say("lkl: the guest ends without its network", NULL);
			finish(EXIT_NETWORK);
		}
}

/* Collects processes that have ended; the program's end is the guest's. */
static void reap(void)
{
	int status;
	long pid;

	while ((pid = CALL(SYS_wait4, -1, &status, WNOHANG, 0)) > 0) {
		if (pid != program)
			continue;
		if (WIFSIGNALED(status)) {
			explain(WTERMSIG(status));
			finish(128 + WTERMSIG(status));
		}
		finish(WEXITSTATUS(status));
	}
}

void lkl_start_program(void)
{
	static char frame[1515];
	uint64_t mask = 1UL << (SIGCHLD - 1) | 1UL << (SIGPWR - 1);
	struct pollfd fds[2];

	prepare();
	CALL(SYS_rt_sigprocmask, SIG_BLOCK, &mask, 0, sizeof(mask));
	fds[0] = (struct pollfd){ CALL(SYS_signalfd4, -1, &mask, sizeof(mask), SFD_CLOEXEC | SFD_NONBLOCK), POLLIN, 0 };
	fds[1] = (struct pollfd){ CALL(SYS_open, "/dev/control", O_RDONLY | O_NONBLOCK | O_CLOEXEC), POLLIN, 0 };
	delay_main();
	program = program_start(&config, &words);
	for (;;) {
		long n;

		CALL(SYS_poll, fds, 2, -1);
		take_signals(fds[0].fd);
		reap();
		while (fds[1].fd >= 0 && (n = CALL(SYS_read, fds[1].fd, frame, sizeof(frame) - 1)) > 0)
			obey(frame, n);
	}
}
