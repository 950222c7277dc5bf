/* SPDX-License-Identifier: MPL-2.0 */
/* Mounts the file system of a block device. */
#include "start.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>

/* Mount options that are flags of mount(). The file system gets all others. */
static const struct {
	const char *name;
	unsigned long flag;
} flag_options[] = {
	{ "rw", 0 }, { "ro", MS_RDONLY }, { "sync", MS_SYNCHRONOUS }, { "dirsync", MS_DIRSYNC },
	{ "noatime", MS_NOATIME }, { "nodiratime", MS_NODIRATIME }, { "relatime", MS_RELATIME },
	{ "nodev", MS_NODEV }, { "noexec", MS_NOEXEC }, { "nosuid", MS_NOSUID },
};

void disk_path(char *to, const char *name)
{
	size_t n = strnlen(name, LKL_DISK_NAME_MAX);

	memcpy(to, "/dev/", 5);
	memcpy(to + 5, name, n);
	to[5 + n] = 0;
}

static bool find_flag(const char *option, size_t n, unsigned long *flags)
{
	for (size_t i = 0; i < ARRAY_SIZE(flag_options); i++)
		if (strlen(flag_options[i].name) == n && !memcmp(flag_options[i].name, option, n)) {
			*flags |= flag_options[i].flag;
			return true;
		}
	return false;
}

unsigned long split_options(const char *options, char *rest, size_t size)
{
	unsigned long flags = 0;
	size_t used = 0, n;

	for (; options && *options; options += n + (options[n] == ',')) {
		n = strcspn(options, ",");
		if (find_flag(options, n, &flags))
			continue;
		if (used + n + 2 > size) {
			say("lkl: --config: the mount options are too long: ", options, NULL);
			finish(LKL_EXIT_CONFIG);
		}
		if (used)
			rest[used++] = ',';
		memcpy(rest + used, options, n);
		used += n;
	}
	rest[used] = 0;
	return flags;
}

long mount_disk(const char *device, const char *path, const char *type, const char *list)
{
	char options[256];
	unsigned long flags = split_options(list, options, sizeof(options));
	long err, first;

	first = CALL(SYS_mount, device, path, type ? type : "ext4", flags, options);
	if (first == 0 || type)
		return first;
	err = CALL(SYS_mount, device, path, "iso9660", MS_RDONLY, 0);
	if (err < 0 && first == -EROFS)
		err = CALL(SYS_mount, device, path, "ext4", MS_RDONLY, options);
	return err ? first : 0;
}

const char *mount_error(long err)
{
	if (err == -EINVAL)
		return "it holds no ext4 and no ISO 9660 file system, is damaged or cut short, or an option is unknown";
	return error_text(err);
}
