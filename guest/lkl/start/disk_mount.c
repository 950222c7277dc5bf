/* SPDX-License-Identifier: MPL-2.0 */
/* Mounts the file system of a block device. */
#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>

/* Offsets on a disk, in bytes. */
#define EXT4_MAGIC_AT 1080
#define ISO9660_MAGIC_AT 32769

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

/* An image may be both: the first 32 KiB of an ISO 9660 file system are free for other data. */
static bool holds_only_iso9660(const char *device)
{
	unsigned char ext4[2] = { 0 }, iso9660[5] = { 0 };
	long fd = CALL(SYS_open, device, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	CALL(SYS_pread64, fd, ext4, sizeof(ext4), EXT4_MAGIC_AT);
	CALL(SYS_pread64, fd, iso9660, sizeof(iso9660), ISO9660_MAGIC_AT);
	CALL(SYS_close, fd);
	return !memcmp(iso9660, "CD001", sizeof(iso9660)) && memcmp(ext4, "\x53\xef", sizeof(ext4));
}

long mount_disk(const char *device, const char *path, const char *type, const char *list)
{
	char options[256];
	unsigned long flags = split_options(list, options, sizeof(options));
	long err;

	if (!type && holds_only_iso9660(device))
		return CALL(SYS_mount, device, path, "iso9660", MS_RDONLY, 0);
	err = CALL(SYS_mount, device, path, type ? type : "ext4", flags, options);
	if (err == -EROFS && !type)
		err = CALL(SYS_mount, device, path, "ext4", MS_RDONLY, options);
	return err;
}

const char *mount_error(long err)
{
	if (err == -EINVAL)
		return "it holds no ext4 and no ISO 9660 file system, is damaged or cut short, or an option is unknown";
	return error_text(err);
}
