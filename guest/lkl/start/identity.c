/* SPDX-License-Identifier: MPL-2.0 */
/* The host name, the sysctls and the entropy of this guest. */
#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

/* From linux/random.h, which does not compile with musl's headers. */
#define RNDADDENTROPY _IOW('R', 3, int[2])

/* struct rand_pool_info of linux/random.h. */
struct pool {
	int bits, size;
	unsigned char bytes[512];
};

/* Writes one sysctl, name=value; the dots of the name are slashes in its path. */
static long set_sysctl(char *path, const char *name, const char *equals, const char *value)
{
	size_t n = strlen(strcpy(path, "/proc/sys/"));

	for (; name < equals; name++)
		path[n++] = *name == '.' ? '/' : *name;
	path[n] = 0;
	return write_file(path, value);
}

/* name=value;name=value */
void set_sysctls(const char *list)
{
	char path[160];

	while (list && *list) {
		const char *end = strchr(list, ';'), *equals = strchr(list, '=');
		char value[256] = "";
		long err = -EINVAL;

		if (!end)
			end = list + strlen(list);
		strcpy(path, "/proc/sys/");
		if (equals && equals < end && equals - list < 128 && end - equals < 256) {
			memcpy(value, equals + 1, end - equals - 1);
			err = set_sysctl(path, list, equals, value);
		}
		if (err < 0)
			say("lkl: sysctl ", path + strlen("/proc/sys/"), " = ", value, ": ",
			    error_text(err), NULL);
		list = *end ? end + 1 : end;
	}
}

/* Adds bytes from the host, and credits eight bits of entropy for each. */
static void add_pool(struct pool *pool)
{
	long fd = CALL(SYS_open, "/dev/urandom", O_RDWR);

	pool->bits = pool->size * 8;
	if (pool->size > 0 && fd >= 0)
		CALL(SYS_ioctl, fd, RNDADDENTROPY, pool);
	CALL(SYS_close, fd);
}

/*
 * The host may also put a seed into the root file system. It is used only if it
 * can be removed, so that no two starts use the same.
 */
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

void add_entropy(const char *hex)
{
	static struct pool pool;

	for (; hex && pool.size < (int)sizeof(pool.bytes); hex += 2) {
		int high = hex_digit(hex[0]), low = high < 0 ? -1 : hex_digit(hex[1]);

		if (low < 0)
			break;
		pool.bytes[pool.size++] = high << 4 | low;
	}
	add_pool(&pool);
	add_seed_file();
}

/* Without a name in the configuration: the first line of /etc/hostname. */
void set_hostname(const char *name)
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
		say("lkl: not a valid host name: ", name, NULL);
}
