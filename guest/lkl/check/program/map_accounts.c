/* SPDX-License-Identifier: MPL-2.0 */
/* Locked memory and its limit, and the accounts of mappings in /proc. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define PAGE 4096
#define MIB (1 << 20)

static char *anonymous(size_t n)
{
	return MAP(mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

/* Returns a line of /proc/self/status in kilobytes. */
static long status_line(const char *name)
{
	const char *line = strstr(get_file("/proc/self/status"), name);

	return line ? atol(line + strlen(name)) : -1;
}

static void locked(void)
{
	char *p = anonymous(4 * PAGE);

	OK(mlock(p + 1, 2 * PAGE));
	IS(status_line("\nVmLck:"), 12);
	OK(mlock(p, 4 * PAGE));
	IS(status_line("\nVmLck:"), 16);
	OK(munlock(p + PAGE, PAGE));
	IS(status_line("\nVmLck:"), 12);
	OK(munmap(p + 3 * PAGE, PAGE));
	IS(status_line("\nVmLck:"), 8);
	/* A new mapping in its place is not locked. */
	TRUE(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
	IS(status_line("\nVmLck:"), 4);
	OK(munmap(p, 4 * PAGE));
	IS(status_line("\nVmLck:"), 0);
	FAILS(mlock(p, PAGE), ENOMEM);
	FAILS(munlock(p, PAGE), ENOMEM);
}

/* mremap() and MAP_LOCKED. */
static void locked_with_mapping(void)
{
	char *p = MAP(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));

	IS(status_line("\nVmLck:"), 16);
	p = MAP(mremap(p, 4 * PAGE, 50 * PAGE, MREMAP_MAYMOVE));
	IS(status_line("\nVmLck:"), 200);
	TRUE(mremap(p, 50 * PAGE, PAGE, 0) == p);
	IS(status_line("\nVmLck:"), 4);
	OK(munmap(p, PAGE));
	IS(status_line("\nVmLck:"), 0);
}

static void lock_arguments(void)
{
	char *p = anonymous(2 * PAGE);

	OK(munmap(p + PAGE, PAGE));
	FAILS(mlock(p, 2 * PAGE), ENOMEM);
	OK(munlock(p, PAGE));
	OK(mlock(p, 0));
	FAILS(syscall(SYS_mlock, p, (size_t)0 - 4 * PAGE), EINVAL);
	OK(syscall(SYS_mlock2, p, PAGE, MLOCK_ONFAULT));
	FAILS(syscall(SYS_mlock2, p, PAGE, 2), EINVAL);
	OK(munmap(p, PAGE));
	FAILS(mlockall(0), EINVAL);
	FAILS(mlockall(MCL_ONFAULT), EINVAL);
	FAILS(mlockall(64), EINVAL);
}

static void lock_all(void)
{
	long before, with;
	char *p, *q = anonymous(PAGE);

	OK(mlockall(MCL_FUTURE));
	before = status_line("\nVmLck:");
	p = anonymous(8 * PAGE);
	IS(status_line("\nVmLck:"), before + 32);
	OK(mlockall(MCL_CURRENT));
	with = status_line("\nVmLck:");
	TRUE(with >= before + 36);
	OK(munmap(p, 8 * PAGE));
	IS(status_line("\nVmLck:"), with - 32);
	OK(munlockall());
	IS(status_line("\nVmLck:"), 0);
	p = anonymous(PAGE);
	IS(status_line("\nVmLck:"), 0);
	OK(munmap(p, PAGE));
	OK(munmap(q, PAGE));
}

static void lose_privileges(void)
{
	OK(syscall(SYS_setresuid, 65534, 65534, 65534));
}

static void *lock_within_limit(void *arg)
{
	char *p = anonymous(20 * PAGE);

	(void)arg;
	lose_privileges();
	OK(mlock(p, 16 * PAGE));
	FAILS(mlock(p, 17 * PAGE), ENOMEM);
	FAILS(mlock(p + 16 * PAGE, PAGE), ENOMEM);
	/* Locked pages do not count twice. */
	OK(mlock(p + 4 * PAGE, 12 * PAGE));
	OK(munlock(p, PAGE));
	OK(mlock(p + 16 * PAGE, PAGE));
	TRUE(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0) == MAP_FAILED);
	IS(errno, EAGAIN);
	TRUE(mremap(p + PAGE, 16 * PAGE, 40 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
	IS(errno, EAGAIN);
	FAILS(mlockall(MCL_CURRENT), ENOMEM);
	OK(mlockall(MCL_FUTURE));
	TRUE(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	IS(errno, EAGAIN);
	OK(munlockall());
	IS(status_line("\nVmLck:"), 0);
	OK(munmap(p, 20 * PAGE));
	return NULL;
}

static void *lock_without_permission(void *arg)
{
	char *p = anonymous(PAGE);

	(void)arg;
	lose_privileges();
	FAILS(mlock(p, PAGE), EPERM);
	FAILS(mlock(p, 0), EPERM);
	FAILS(mlockall(MCL_CURRENT), EPERM);
	/* A direct call, since musl returns ENOMEM instead. */
	FAILS(syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0), EPERM);
	OK(munlock(p, PAGE));
	OK(munlockall());
	OK(munmap(p, PAGE));
	return NULL;
}

static void lock_limit(void)
{
	struct rlimit was, limit;

	OK(getrlimit(RLIMIT_MEMLOCK, &was));
	limit = (struct rlimit){ 16 * PAGE, was.rlim_max };
	OK(setrlimit(RLIMIT_MEMLOCK, &limit));
	join_thread(start_thread(lock_within_limit, NULL));
	limit.rlim_cur = 0;
	OK(setrlimit(RLIMIT_MEMLOCK, &limit));
	join_thread(start_thread(lock_without_permission, NULL));
	OK(setrlimit(RLIMIT_MEMLOCK, &was));
}

/* Maps and touches 4 MiB of a file, and checks that this line grows by it. */
static void count_file(int fd, const char *line)
{
	long before = status_line(line), resident = status_line("\nVmRSS:");
	volatile char sum = 0;
	char *p;

	OK(ftruncate(fd, 4 * MIB));
	p = MAP(mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	memset(p, 1, 4 * MIB);
	sum += p[MIB];
	TRUE(status_line(line) >= before + 3900);
	TRUE(status_line("\nVmRSS:") >= resident + 3900);
	OK(munmap(p, 2 * MIB));
	TRUE(status_line(line) >= before + 1900 && status_line(line) < before + 3000);
	OK(munmap(p, 4 * MIB));
	TRUE(status_line(line) < before + 1000);
	OK(close(fd));
}

static void use(void)
{
	count_file(OK(open("file", O_RDWR | O_CREAT, 0600)), "\nRssFile:");
	count_file(OK(memfd_create("file", 0)), "\nRssShmem:");
}

/* Returns the line of /proc/self/maps that ends with this path, or NULL. */
static const char *map_line(const char *path)
{
	static char line[500];
	FILE *f = SOME(fopen("/proc/self/maps", "r"));
	const char *found = NULL;

	while (!found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (strlen(line) > strlen(path) && !strcmp(line + strlen(line) - strlen(path), path))
			found = line;
	}
	fclose(f);
	return found;
}

static void list(void)
{
	int fd = OK(open("mapped", O_RDWR | O_CREAT, 0600));
	unsigned long start, end, offset, inode;
	char permissions[5], *p;
	struct stat st;

	OK(ftruncate(fd, 8 * PAGE));
	OK(fstat(fd, &st));
	p = MAP(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 2 * PAGE));
	IS(sscanf(SOME((void *)map_line("/mapped")), "%lx-%lx %4s %lx %*s %lu", &start, &end, permissions, &offset,
		  &inode), 5);
	TRUE(start == (unsigned long)p && end == start + 4 * PAGE);
	TEXT(permissions, "rw-s");
	IS(offset, 2 * PAGE);
	IS(inode, st.st_ino);
	/* The rest after a hole in the middle. */
	OK(munmap(p, PAGE));
	IS(sscanf(SOME((void *)map_line("/mapped")), "%lx-%lx %4s %lx", &start, &end, permissions, &offset), 4);
	TRUE(start == (unsigned long)p + PAGE && end == start + 3 * PAGE);
	IS(offset, 3 * PAGE);
	OK(munmap(p + PAGE, 3 * PAGE));
	TRUE(!map_line("/mapped"));
}

const struct check map_account_checks[] = {
	{ "map_locked", locked },
	{ "map_locked_with_mapping", locked_with_mapping },
	{ "map_lock_arguments", lock_arguments },
	{ "map_lock_all", lock_all },
	{ "map_lock_limit", lock_limit },
	{ "map_use", use },
	{ "map_list", list },
	{ 0 }
};
