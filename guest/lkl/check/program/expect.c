/* SPDX-License-Identifier: MPL-2.0 */
/* The checks and helpers of check.h. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define ERRORS(X)                                                              \
	X(EPERM) X(ENOENT) X(ESRCH) X(EINTR) X(EIO) X(ENXIO) X(E2BIG)          \
	X(ENOEXEC) X(EBADF) X(ECHILD) X(EAGAIN) X(ENOMEM) X(EACCES) X(EFAULT)  \
	X(ENOTBLK) X(EBUSY) X(EEXIST) X(EXDEV) X(ENODEV) X(ENOTDIR) X(EISDIR)  \
	X(EINVAL) X(ENFILE) X(EMFILE) X(ENOTTY) X(ETXTBSY) X(EFBIG) X(ENOSPC)  \
	X(ESPIPE) X(EROFS) X(EMLINK) X(EPIPE) X(EDOM) X(ERANGE) X(EDEADLK)     \
	X(ENAMETOOLONG) X(ENOLCK) X(ENOSYS) X(ENOTEMPTY) X(ELOOP) X(ENODATA)   \
	X(EOVERFLOW) X(EILSEQ) X(ENOTSOCK) X(EDESTADDRREQ) X(EMSGSIZE)         \
	X(EPROTOTYPE) X(ENOPROTOOPT) X(EPROTONOSUPPORT) X(ESOCKTNOSUPPORT)     \
	X(EOPNOTSUPP) X(EPFNOSUPPORT) X(EAFNOSUPPORT) X(EADDRINUSE)            \
	X(EADDRNOTAVAIL) X(ENETDOWN) X(ENETUNREACH) X(ECONNABORTED)            \
	X(ECONNRESET) X(ENOBUFS) X(EISCONN) X(ENOTCONN) X(ETIMEDOUT)           \
	X(ECONNREFUSED) X(EHOSTUNREACH) X(EALREADY) X(EINPROGRESS) X(ESTALE)   \
	X(EDQUOT) X(ECANCELED) X(EOWNERDEAD) X(ENOTRECOVERABLE)

const char *error_name(int error)
{
	static _Thread_local char number[16];

	switch (error) {
#define NAME(e) case e: return #e;
	ERRORS(NAME)
	case 0:
		return "success";
	}
	snprintf(number, sizeof(number), "error %d", error);
	return number;
}

static const char *integer(char *to, size_t size, long long value)
{
	snprintf(to, size, "%lld", value);
	return to;
}

long long check_ok(const char *what, long long got)
{
	if (got == -1)
		check_failed(what, "success", error_name(errno));
	return got;
}

void check_fails(const char *what, long long got, int error)
{
	if (got != -1)
		check_failed(what, error_name(error), "success");
	else if (errno != error)
		check_failed(what, error_name(error), error_name(errno));
}

void check_is(const char *what, long long got, long long want)
{
	char a[24], b[24];

	if (got != want)
		check_failed(what, integer(a, sizeof(a), want), integer(b, sizeof(b), got));
}

void check_gives(const char *what, long long got, long long want)
{
	char a[24];

	if (got == -1 && want != -1)
		check_failed(what, integer(a, sizeof(a), want), error_name(errno));
	else
		check_is(what, got, want);
}

void check_error(const char *what, int got, int want)
{
	if (got != want)
		check_failed(what, error_name(want), error_name(got));
}

void check_true(const char *what, bool got)
{
	if (!got)
		check_failed(what, "true", "false");
}

void check_soon(const char *what, bool got)
{
	if (!got)
		check_failed(what, "true within seconds", "false");
}

void check_text(const char *what, const char *got, const char *want)
{
	if (!got)
		check_failed(what, want, "nothing");
	else if (strcmp(got, want) != 0)
		check_failed(what, want, got);
}

void *check_map(const char *what, void *got)
{
	if (got == MAP_FAILED)
		check_failed(what, "a mapping", error_name(errno));
	return got;
}

void *check_some(const char *what, void *got)
{
	if (!got)
		check_failed(what, "a pointer", error_name(errno));
	return got;
}

pthread_t start_thread(void *(*run)(void *), void *arg)
{
	pthread_t thread;

	ZERO(pthread_create(&thread, NULL, run, arg));
	return thread;
}

pthread_t start_small_thread(void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 * 1024);
	ZERO(pthread_create(&thread, &attr, run, arg));
	pthread_attr_destroy(&attr);
	return thread;
}

void *join_thread(pthread_t thread)
{
	void *result = NULL;

	ZERO(pthread_join(thread, &result));
	return result;
}

int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

void sleep_ms(int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&t, NULL);
}

pid_t thread_id(void)
{
	return syscall(SYS_gettid);
}

/* Returns the state of a thread from /proc: R, S, D and others. */
static char thread_state(pid_t tid)
{
	char path[64], text[256], *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	end = strrchr(text, ')');
	return end && end[1] ? end[2] : 0;
}

/*
 * Requires the state asleep twice in a row, since a thread may sleep briefly for
 * a lock before its call.
 */
void wait_until_asleep(volatile pid_t *tid)
{
	int64_t end = now_ns() + 20000000000;
	int asleep = 0;

	while (asleep < 2 && now_ns() < end) {
		asleep = *tid && thread_state(*tid) == 'S' ? asleep + 1 : 0;
		sleep_ms(1);
	}
	if (asleep < 2)
		check_failed("a thread in a system call", "asleep within seconds", "not");
}

void set_handler(int sig, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	sigemptyset(&action.sa_mask);
	OK(sigaction(sig, &action, NULL));
}

sigset_t signal_set(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	return set;
}

void put_file(const char *path, const char *text)
{
	int fd = OK(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666));

	GIVES(write(fd, text, strlen(text)), strlen(text));
	OK(close(fd));
}

const char *get_file(const char *path)
{
	static char text[1024];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd == -1)
		return error_name(errno);
	n = read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	close(fd);
	return text;
}

bool all_bytes(const void *at, int value, size_t size)
{
	const unsigned char *p = at;

	for (size_t i = 0; i < size; i++)
		if (p[i] != (unsigned char)value)
			return false;
	return true;
}
