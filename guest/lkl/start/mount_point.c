/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Opens mount points. Paths are those that the program sees: symbolic links of the
 * root file system lead to files in it, although the start program runs outside.
 */
#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>

static long open_in_root(const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	long root = CALL(SYS_open, ROOT, O_PATH | O_CLOEXEC), fd;

	if (root < 0)
		return root;
	fd = CALL(SYS_openat2, root, path, &how, sizeof(how));
	CALL(SYS_close, root);
	return fd;
}

static long create(long directory, const char *name, bool file)
{
	if (file)
		return CALL(SYS_mknodat, directory, name, S_IFREG | 0644, 0);
	return CALL(SYS_mkdirat, directory, name, 0755);
}

/* Changes path for a moment. Each missing directory of the path is created. */
static long open_or_create(char *path, bool file)
{
	long fd = open_in_root(*path ? path : "/"), directory, err;
	char *name = strrchr(path, '/');

	if (fd != -ENOENT || !name)
		return fd;
	*name = 0;
	directory = open_or_create(path, false);
	*name = '/';
	if (directory < 0)
		return directory;
	err = create(directory, name + 1, file);
	CALL(SYS_close, directory);
	return err < 0 ? err : open_in_root(path);
}

long mount_point_open(const char *path, bool file)
{
	static char copy[MAX_MOUNT_PATH + 1];
	size_t n = strlen(path);

	if (n > MAX_MOUNT_PATH)
		return -ENAMETOOLONG;
	memcpy(copy, path, n + 1);
	while (n > 1 && copy[n - 1] == '/')
		copy[--n] = 0;
	return open_or_create(copy, file);
}
