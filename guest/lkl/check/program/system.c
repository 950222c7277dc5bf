/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Information about the system, /proc, random bytes, and inter-process
 * communication of System V and POSIX.
 */
#define _GNU_SOURCE
#include "check.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <sys/auxv.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/random.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static void names_itself(void)
{
	struct utsname u;
	char kept[65];

	OK(uname(&u));
	TEXT(u.sysname, "Linux");
	TRUE(isdigit(u.release[0]) && strchr(u.release, '.'));
	OK(gethostname(kept, sizeof(kept)));
	TEXT(u.nodename, kept);
}

/* Programs for x86-64 check these names. */
static void names_the_machine(void)
{
	struct utsname u;

	OK(uname(&u));
	TEXT(u.machine, "x86_64");
}

static void numbers(void)
{
	struct sysinfo s;

	IS(sysconf(_SC_PAGESIZE), 4096);
	IS(sysconf(_SC_CLK_TCK), 100);
	TRUE(sysconf(_SC_OPEN_MAX) >= 1024);
	TRUE(sysconf(_SC_PHYS_PAGES) > 1000);
	TRUE(sysconf(_SC_IOV_MAX) == 1024);
	errno = 0;
	IS(sysconf(99999), -1);
	IS(errno, EINVAL);
	OK(sysinfo(&s));
	TRUE(s.totalram > s.freeram && s.freeram > 0 && s.procs > 0 && s.mem_unit > 0);
	IS(getauxval(AT_PAGESZ), 4096);
	IS(getauxval(AT_SECURE), 0);
	TRUE(getauxval(AT_RANDOM) != 0);
}

static void random_bytes(void)
{
	unsigned char a[257], b[256];
	int ones = 0;

	GIVES(getrandom(a, 256, 0), 256);
	GIVES(getrandom(b, sizeof(b), GRND_NONBLOCK), sizeof(b));
	TRUE(memcmp(a, b, sizeof(b)) != 0);
	for (size_t i = 0; i < sizeof(b); i++)
		ones += __builtin_popcount(a[i]);
	TRUE(ones > 850 && ones < 1200);
	FAILS(getrandom(a, 1, 0xffff), EINVAL);
	IS(getentropy(a, 256), 0);
	FAILS(getentropy(a, 257), EIO);
}

/* Returns the number after a word in a file of /proc, or -1. */
static long number_after(const char *path, const char *word)
{
	static char text[16384];
	int fd = OK(open(path, O_RDONLY));
	ssize_t n, sum = 0;
	char *at;

	while (sum < (ssize_t)sizeof(text) - 1 &&
	       (n = read(fd, text + sum, sizeof(text) - 1 - sum)) > 0)
		sum += n;
	text[sum] = 0;
	close(fd);
	at = strstr(text, word);
	return at ? strtol(at + strlen(word), NULL, 10) : -1;
}

static void *wait_for_flag(void *arg)
{
	while (!*(volatile bool *)arg)
		sleep_ms(1);
	return NULL;
}

static void of_process(void)
{
	char path[64], text[600] = "", here[512];
	volatile bool end = false;
	pthread_t thread;
	long threads;

	TRUE(number_after("/proc/self/status", "\nPid:\t") == getpid());
	IS(number_after("/proc/self/status", "\nUid:\t"), 0);
	TRUE(number_after("/proc/self/stat", "") == getpid());
	threads = number_after("/proc/self/status", "\nThreads:\t");
	thread = start_thread(wait_for_flag, (void *)&end);
	IS(number_after("/proc/self/status", "\nThreads:\t") == threads + 1, true);
	end = true;
	join_thread(thread);
	OK(readlink("/proc/self/cwd", text, sizeof(text)));
	SOME(getcwd(here, sizeof(here)));
	TEXT(text, here);
	snprintf(path, sizeof(path), "/proc/%d", getpid());
	OK(access(path, F_OK));
	FAILS(access("/proc/67108863", F_OK), ENOENT);
	memset(text, 0, sizeof(text));
	snprintf(path, sizeof(path), "/proc/self/fd/%lld", OK(open("/dev/null", O_RDONLY)));
	OK(readlink(path, text, sizeof(text)));
	TEXT(text, "/dev/null");
	OK(open(path, O_RDONLY));
}

static void of_process_files(void)
{
	char text[600] = "";

	TRUE(strncmp(get_file("/proc/self/cmdline"), check_argv[0], strlen(check_argv[0])) == 0);
	OK(access("/proc/self/maps", R_OK));
	OK(access("/proc/self/mountinfo", R_OK));
	OK(access("/proc/self/limits", R_OK));
	OK(readlink("/proc/self/root", text, sizeof(text)));
	TEXT(text, "/");
}

static void of_program(void)
{
	char text[600] = "";

	OK(readlink("/proc/self/exe", text, sizeof(text)));
	OK(open("/proc/self/exe", O_RDONLY));
}

static void of_system(void)
{
	TRUE(number_after("/proc/meminfo", "MemTotal:") > 1000);
	TRUE(number_after("/proc/meminfo", "MemAvailable:") > 1000);
	TRUE(number_after("/proc/stat", "btime ") > 1600000000);
	OK(access("/proc/cpuinfo", R_OK));
	OK(access("/proc/loadavg", R_OK));
	OK(access("/proc/net/tcp", R_OK));
	OK(access("/sys/class/net/lo", F_OK));
	OK(access("/proc/sys/net/ipv4/ip_forward", F_OK));
	TRUE(strncmp(get_file("/proc/version"), "Linux version ", 14) == 0);
	TRUE(number_after("/proc/uptime", "") >= 0);
}

const struct check system_checks[] = {
	{ "system_names_itself", names_itself },
	{ "system_names_the_machine", names_the_machine },
	{ "system_numbers", numbers },
	{ "system_random_bytes", random_bytes },
	{ "proc_of_process", of_process },
	{ "proc_of_process_files", of_process_files },
	{ "proc_of_program", of_program },
	{ "proc_of_system", of_system },
	{ 0 }
};

static void queue_of_messages(void)
{
	struct mq_attr attr = { .mq_maxmsg = 4, .mq_msgsize = 32 };
	mqd_t q = OK(mq_open("/lkl-check", O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attr));
	unsigned priority = 0;
	char text[32] = "";

	OK(mq_unlink("/lkl-check"));
	FAILS(mq_receive(q, text, sizeof(text), NULL), EAGAIN);
	OK(mq_send(q, "low", 4, 1));
	OK(mq_send(q, "high", 5, 9));
	GIVES(mq_receive(q, text, sizeof(text), &priority), 5);
	IS(priority, 9);
	GIVES(mq_receive(q, text, sizeof(text), NULL), 4);
	TEXT(text, "low");
	FAILS(mq_receive(q, text, 8, NULL), EMSGSIZE);
	for (int i = 0; i < 4; i++)
		OK(mq_send(q, "x", 1, 0));
	FAILS(mq_send(q, "x", 1, 0), EAGAIN);
	OK(mq_close(q));
}

static void old_messages(void)
{
	struct {
		long type;
		char text[16];
	} m = { 3, "three" };
	int q = OK(msgget(IPC_PRIVATE, IPC_CREAT | 0600));

	OK(msgsnd(q, &m, sizeof(m.text), 0));
	FAILS(msgrcv(q, &m, sizeof(m.text), 4, IPC_NOWAIT), ENOMSG);
	GIVES(msgrcv(q, &m, sizeof(m.text), 3, 0), sizeof(m.text));
	TEXT(m.text, "three");
	OK(msgctl(q, IPC_RMID, NULL));
}

static void old_semaphores(void)
{
	struct sembuf down = { 0, -1, IPC_NOWAIT }, up = { 0, 1, 0 };
	int s = OK(semget(IPC_PRIVATE, 1, IPC_CREAT | 0600));

	FAILS(semop(s, &down, 1), EAGAIN);
	OK(semop(s, &up, 1));
	OK(semop(s, &down, 1));
	OK(semctl(s, 0, IPC_RMID));
}

static void status_of_semaphores(void)
{
	union {
		int value;
		struct semid_ds *status;
	} arg;
	struct sembuf up = { 1, 1, 0 };
	struct semid_ds d = { 0 };
	time_t before = time(NULL) - 1;
	int s = OK(semget(IPC_PRIVATE, 3, IPC_CREAT | 0640));

	OK(semop(s, &up, 1));
	arg.status = &d;
	OK(semctl(s, 0, IPC_STAT, arg));
	IS(d.sem_nsems, 3);
	IS(d.sem_perm.mode & 0777, 0640);
	IS(d.sem_perm.uid, getuid());
	TRUE(d.sem_otime >= before && d.sem_otime <= time(NULL));
	TRUE(d.sem_ctime >= before && d.sem_ctime <= time(NULL));
	OK(semctl(s, 0, IPC_RMID));
}

static void status_of_messages(void)
{
	struct {
		long type;
		char text[16];
	} m = { 3, "three" };
	struct msqid_ds d = { 0 };
	time_t before = time(NULL) - 1;
	int q = OK(msgget(IPC_PRIVATE, IPC_CREAT | 0600));

	OK(msgsnd(q, &m, 5, 0));
	OK(msgctl(q, IPC_STAT, &d));
	IS(d.msg_qnum, 1);
	IS(d.msg_lspid, getpid());
	TRUE(d.msg_qbytes >= 5);
	TRUE(d.msg_stime >= before && d.msg_stime <= time(NULL));
	IS(d.msg_rtime, 0);
	OK(msgctl(q, IPC_RMID, NULL));
}

static void old_memory(void)
{
	int m = OK(shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600));
	char *p = MAP(shmat(m, NULL, 0)), *q;

	strcpy(p, "text");
	q = MAP(shmat(m, NULL, 0));
	TEXT(q, "text");
	OK(shmdt(p));
	OK(shmdt(q));
	OK(shmctl(m, IPC_RMID, NULL));
}

const struct check ipc_checks[] = {
	{ "ipc_queue_of_messages", queue_of_messages },
	{ "ipc_old_messages", old_messages },
	{ "ipc_old_semaphores", old_semaphores },
	{ "ipc_status_of_semaphores", status_of_semaphores },
	{ "ipc_status_of_messages", status_of_messages },
	{ "ipc_old_memory", old_memory },
	{ 0 }
};
