/* SPDX-License-Identifier: MPL-2.0 */
/* pid 1 from its start to the guest's end. */
#include "start.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

/* linux/random.h */
#define RNDADDENTROPY _IOW('R', 3, int[2])

/* The kernel's private call for the start program: ends the guest. */
#define LKL_NR_EXIT 0x4c4b0001

/* The words of the host, which the kernel keeps. */
extern const char *lkl_cmdline;

static char line[8192];
static struct words words;
static struct config config;
static long program;

_Noreturn void finish(int status)
{
	CALL(SYS_kill, -1, SIGKILL);
	while (CALL(SYS_wait4, -1, 0, 0, 0) > 0)
		;
	CALL(SYS_msync, 0, 0, MS_SYNC);
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

/* The host's random bits, in hexadecimal, count as what they are: four bits a digit. */
static void add_entropy(const char *hex)
{
	struct {
		int bits, size;
		unsigned char bytes[256];
	} pool = { 0 };
	long fd;

	for (; hex && hex[0] && hex[1] && pool.size < 256; hex += 2) {
		int high = hex[0] | 32, low = hex[1] | 32;

		pool.bytes[pool.size++] = (high > '9' ? high - 'a' + 10 : high - '0') << 4 | (low > '9' ? low - 'a' + 10 : low - '0');
	}
	pool.bits = pool.size * 8;
	fd = CALL(SYS_open, "/dev/urandom", O_RDWR);
	if (pool.size && fd >= 0)
		CALL(SYS_ioctl, fd, RNDADDENTROPY, &pool);
	CALL(SYS_close, fd);
}

/* A seed that the host has put into the root: used once, and removed so that no second start takes the same. */
static void add_seed_file(void)
{
	static const char path[] = "/root/etc/lkl-seed";
	struct {
		int bits, size;
		unsigned char bytes[256];
	} pool;
	long fd = CALL(SYS_open, path, O_RDONLY), n;

	if (fd < 0)
		return;
	n = CALL(SYS_read, fd, pool.bytes, sizeof(pool.bytes));
	CALL(SYS_close, fd);
	if (n <= 0 || CALL(SYS_unlink, path) < 0)
		return;
	pool.size = n;
	pool.bits = n * 8;
	fd = CALL(SYS_open, "/dev/urandom", O_RDWR);
	CALL(SYS_ioctl, fd, RNDADDENTROPY, &pool);
	CALL(SYS_close, fd);
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
	mount_all(&config);
	add_entropy(config.entropy);
	add_seed_file();
	if (config.hostname)
		CALL(SYS_sethostname, config.hostname, strlen(config.hostname));
	network_up(&config);
	sysctl_set(&config);
}

/* "signal N" or "stop N": both deliver a signal. The host waits for the end after the second, and nothing is to be done for that. */
static void obey(char *frame, long n)
{
	char *text = NULL;
	long signal;

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
	CALL(SYS_kill, program, signal);
}

/* Collects processes that have ended; the program's end is the guest's. */
static void reap(void)
{
	int status;
	long pid;

	while ((pid = CALL(SYS_wait4, -1, &status, WNOHANG, 0)) > 0) {
		if (pid != program)
			continue;
		if (WIFSIGNALED(status))
			finish(128 + WTERMSIG(status));
		finish(WEXITSTATUS(status));
	}
}

void lkl_start_program(void)
{
	static char frame[1515];
	uint64_t mask = 1UL << (SIGCHLD - 1);
	struct pollfd fds[2];

	prepare();
	CALL(SYS_rt_sigprocmask, SIG_BLOCK, &mask, 0, sizeof(mask));
	fds[0] = (struct pollfd){ CALL(SYS_signalfd4, -1, &mask, sizeof(mask), SFD_CLOEXEC | SFD_NONBLOCK), POLLIN, 0 };
	fds[1] = (struct pollfd){ CALL(SYS_open, "/dev/control", O_RDONLY | O_NONBLOCK | O_CLOEXEC), POLLIN, 0 };
	program = program_start(&config, &words);
	for (;;) {
		struct signalfd_siginfo info;
		long n;

		CALL(SYS_poll, fds, 2, -1);
		while (CALL(SYS_read, fds[0].fd, &info, sizeof(info)) > 0)
			;
		reap();
		while (fds[1].fd >= 0 && (n = CALL(SYS_read, fds[1].fd, frame, sizeof(frame) - 1)) > 0)
			obey(frame, n);
	}
}
