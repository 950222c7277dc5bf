/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The process: identity, limits and environment. Also other processes, which a
 * guest cannot have.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

static void identity(void)
{
	pid_t pid = getpid();

	TRUE(pid > 1);
	TRUE(thread_id() == pid);
	TRUE(getpgrp() == getpgid(0) && getpgid(pid) == getpgrp());
	TRUE(getsid(0) > 0);
	IS(getuid() + geteuid() + getgid() + getegid(), 0);
	FAILS(getpgid(0x3ffffff), ESRCH);
	FAILS(kill(0x3ffffff, 0), ESRCH);
}

static void users(void)
{
	gid_t groups[3] = { 5, 6, 7 }, got[64];
	uid_t r, e, s;

	OK(setgroups(3, groups));
	GIVES(getgroups(64, got), 3);
	IS(got[0] + got[1] + got[2], 18);
	OK(setegid(44));
	OK(seteuid(55));
	IS(geteuid(), 55);
	IS(getuid(), 0);
	FAILS(setgroups(0, NULL), EPERM);
	FAILS(setuid(66), EPERM);
	FAILS(open("/proc/sys/kernel/hostname", O_WRONLY), EACCES);
	OK(getresuid(&r, &e, &s));
	TRUE(r == 0 && e == 55 && s == 0);
	OK(seteuid(0));
	OK(setegid(0));
	IS(geteuid(), 0);
	OK(setgroups(0, NULL));
	GIVES(getgroups(64, got), 0);
}

static void *current_user(void *arg)
{
	(void)arg;
	return (void *)(long)geteuid();
}

/* libc changes the user of all threads. */
static void users_of_threads(void)
{
	pthread_t thread;

	OK(seteuid(55));
	thread = start_thread(current_user, NULL);
	IS((long)join_thread(thread), 55);
	OK(seteuid(0));
}

static void environment(void)
{
	OK(setenv("CHECK_NAME", "value", 1));
	TEXT(getenv("CHECK_NAME"), "value");
	OK(setenv("CHECK_NAME", "other", 0));
	TEXT(getenv("CHECK_NAME"), "value");
	FAILS(setenv("A=B", "x", 1), EINVAL);
	FAILS(setenv("", "x", 1), EINVAL);
	OK(unsetenv("CHECK_NAME"));
	TRUE(getenv("CHECK_NAME") == NULL);
	IS(putenv("CHECK_PUT=x"), 0);
	TEXT(getenv("CHECK_PUT"), "x");
	OK(unsetenv("CHECK_PUT"));
	TRUE(environ != NULL);
	TRUE(check_argc > 1 && check_argv[check_argc] == NULL);
}

static void limits(void)
{
	struct rlimit was, l;

	OK(getrlimit(RLIMIT_NOFILE, &was));
	TRUE(was.rlim_cur >= 1024 && was.rlim_cur <= was.rlim_max);
	l = (struct rlimit){ 100, 50 };
	FAILS(setrlimit(RLIMIT_NOFILE, &l), EINVAL);
	FAILS(getrlimit(999, &l), EINVAL);
	OK(getrlimit(RLIMIT_CORE, &was));
	l = (struct rlimit){ 0, was.rlim_max };
	OK(setrlimit(RLIMIT_CORE, &l));
	OK(getrlimit(RLIMIT_CORE, &l));
	IS(l.rlim_cur, 0);
	OK(setrlimit(RLIMIT_CORE, &was));
	OK(prlimit(0, RLIMIT_AS, NULL, &l));
	TRUE(l.rlim_cur == RLIM_INFINITY);
}

/* Returns a line of /proc/self/status in kilobytes. */
static long status_line(const char *name)
{
	const char *line = strstr(get_file("/proc/self/status"), name);

	return line ? atol(line + strlen(name)) : -1;
}

/* The files say in several ways how much memory the process uses. */
static void memory_use(void)
{
	const long kilobytes = 20 << 10;
	long resident = status_line("\nVmRSS:"), size = status_line("\nVmSize:"), pages[2] = { 0 };
	struct rusage usage;
	char *p = MAP(mmap(NULL, kilobytes << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	TRUE(resident > 0 && size >= resident);
	memset(p, 1, kilobytes << 10);
	TRUE(status_line("\nVmRSS:") >= resident + kilobytes / 10 * 9);
	TRUE(status_line("\nVmSize:") >= size + kilobytes);
	TRUE(status_line("\nVmHWM:") >= kilobytes);
	IS(sscanf(get_file("/proc/self/statm"), "%ld %ld", &pages[0], &pages[1]), 2);
	TRUE(pages[0] >= pages[1] && pages[1] * 4 >= kilobytes);
	IS(sscanf(strrchr(get_file("/proc/self/stat"), ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u "
		  "%*d %*d %*d %*d %*d %*d %*u %ld %ld", &pages[0], &pages[1]), 2);
	TRUE(pages[0] / 1024 >= kilobytes && pages[1] * 4 >= kilobytes);
	OK(getrusage(RUSAGE_SELF, &usage));
	TRUE(usage.ru_maxrss >= kilobytes);
	resident = status_line("\nVmRSS:");
	OK(munmap(p, kilobytes << 10));
	TRUE(status_line("\nVmRSS:") <= resident - kilobytes / 10 * 9);
}

static void scheduling(void)
{
	struct sched_param p = { 0 };
	cpu_set_t cpus;
	int before;

	/*
	 * Direct calls: musl's functions always fail, since those of Linux do
	 * not conform to POSIX.
	 */
	GIVES(syscall(SYS_sched_getscheduler, 0), SCHED_OTHER);
	p.sched_priority = 9;
	OK(syscall(SYS_sched_getparam, 0, &p));
	IS(p.sched_priority, 0);
	IS(sched_get_priority_max(SCHED_FIFO), 99);
	FAILS(syscall(SYS_sched_setscheduler, 0, 99, &p), EINVAL);
	OK(sched_getaffinity(0, sizeof(cpus), &cpus));
	TRUE(CPU_COUNT(&cpus) >= 1);
	TRUE(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
	TRUE(sched_getcpu() >= 0);
	/* The program may have been started with another nice value. */
	before = getpriority(PRIO_PROCESS, 0);
	OK(setpriority(PRIO_PROCESS, 0, 15));
	IS(getpriority(PRIO_PROCESS, 0), 15);
	OK(setpriority(PRIO_PROCESS, 0, before));
}

static void control(void)
{
	char name[16] = "";

	OK(prctl(PR_SET_NAME, "named"));
	OK(prctl(PR_GET_NAME, name));
	TEXT(name, "named");
	FAILS(prctl(99999), EINVAL);
	IS(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
}

static volatile int changed;

static void note_signal(int sig)
{
	changed = sig;
}

/* Without children, waits fail. */
static void no_children(void)
{
	siginfo_t info;
	int status;

	FAILS(wait(&status), ECHILD);
	FAILS(waitpid(-1, &status, WNOHANG), ECHILD);
	FAILS(waitpid(getpid(), &status, 0), ECHILD);
	FAILS(waitid(P_ALL, 0, &info, WEXITED), ECHILD);
	FAILS(waitpid(-1, &status, 0x7fff0000), EINVAL);
}

static void no_libraries(void)
{
	TRUE(dlopen("/nonexistent.so", RTLD_NOW) == NULL);
	SOME(dlerror());
}

const struct check process_checks[] = {
	{ "process_identity", identity },
	{ "process_users", users },
	{ "process_users_of_threads", users_of_threads },
	{ "process_environment", environment },
	{ "process_limits", limits },
	{ "process_memory_use", memory_use },
	{ "process_scheduling", scheduling },
	{ "process_control", control },
	{ "process_no_children", no_children },
	{ "process_no_libraries", no_libraries },
	{ 0 }
};

static int wait_for_status(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		;
	return status;
}

static void forks(void)
{
	pid_t pid;

	fflush(stdout);
	set_handler(SIGCHLD, note_signal, 0);
	changed = 0;
	pid = OK(fork());
	if (pid == 0)
		_exit(3);
	IS(wait_for_status(pid), 3 << 8);
	IS(changed, SIGCHLD);
}

static void forks_virtually(void)
{
	pid_t pid = OK(vfork());

	if (pid == 0)
		_exit(4);
	IS(wait_for_status(pid), 4 << 8);
}

static void spawns(void)
{
	char *arguments[] = { "check", "--child", "5", NULL };
	pid_t pid = 0;

	ZERO(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ));
	IS(wait_for_status(pid), 5 << 8);
}

static void executes(void)
{
	char *arguments[] = { "none", NULL };

	FAILS(execv("none", arguments), ENOENT);
	put_file("script", "text without a meaning");
	OK(chmod("script", 0755));
	FAILS(execve("script", arguments, environ), ENOEXEC);
	OK(chmod("script", 0644));
	FAILS(execve("script", arguments, environ), EACCES);
}

static void runs_commands(void)
{
	char text[16] = "";
	FILE *f = SOME(popen("echo text", "r"));

	SOME(fgets(text, sizeof(text), f));
	TEXT(text, "text\n");
	IS(pclose(f), 0);
	IS(system("exit 6"), 6 << 8);
}

static void clones(void)
{
	long pid = OK(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));

	if (pid == 0)
		_exit(7);
	IS(wait_for_status(pid), 7 << 8);
}

/* A failed spawn returns an error and changes nothing else. */
static void goes_on(void)
{
	char *arguments[] = { "none", NULL };
	pid_t pid;
	int error = posix_spawn(&pid, "/nonexistent", NULL, NULL, arguments, environ);

	TRUE(error == ENOENT || error == ENOSYS);
	IS(wait_for_status(-1), 0);
	put_file("file", "still here");
	TEXT(get_file("file"), "still here");
	join_thread(start_thread(current_user, NULL));
}

const struct check spawn_checks[] = {
	{ "spawn_fork", forks },
	{ "spawn_vfork", forks_virtually },
	{ "spawn_posix", spawns },
	{ "spawn_exec", executes },
	{ "spawn_command", runs_commands },
	{ "spawn_clone", clones },
	{ "spawn_failure_harms_nothing", goes_on },
	{ 0 }
};
