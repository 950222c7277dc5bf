/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Mounts the root file system on /root, and everything else below it. The program
 * later runs in a chroot there; / is a small file system in memory.
 */
#include "start.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>

#define ROOT "/root"

/* A directory that the root file system lacks is created. */
static const struct {
	const char *type, *path, *options;
	unsigned long flags;
} standard[] = {
	{ "proc", ROOT "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "sysfs", ROOT "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "devtmpfs", ROOT "/dev", NULL, MS_NOSUID },
	{ "ramfs", ROOT "/tmp", "mode=1777", MS_NOSUID | MS_NODEV },
	{ "ramfs", ROOT "/run", "mode=755", MS_NOSUID | MS_NODEV },
	{ "ramfs", ROOT "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV },
};

/* On other systems udev creates these. */
static const struct {
	const char *path, *target;
} links[] = {
	{ ROOT "/dev/fd", "/proc/self/fd" },
	{ ROOT "/dev/stdin", "/proc/self/fd/0" },
	{ ROOT "/dev/stdout", "/proc/self/fd/1" },
	{ ROOT "/dev/stderr", "/proc/self/fd/2" },
};

/* Mount options that are flags of mount(). The file system gets all others. */
static const struct {
	const char *name;
	unsigned long flag;
} flag_options[] = {
	{ "rw", 0 }, { "ro", MS_RDONLY }, { "sync", MS_SYNCHRONOUS }, { "dirsync", MS_DIRSYNC },
	{ "noatime", MS_NOATIME }, { "nodiratime", MS_NODIRATIME }, { "relatime", MS_RELATIME },
	{ "nodev", MS_NODEV }, { "noexec", MS_NOEXEC }, { "nosuid", MS_NOSUID },
};

static const char *join(char *to, size_t size, const char *a, const char *b)
{
	size_t n = strlen(a);

	if (n + strlen(b) >= size) {
		say("lkl: the path is too long: ", b, NULL);
		finish(LKL_EXIT_CONFIG);
	}
	memcpy(to, a, n);
	strcpy(to + n, b);
	return to;
}

/* Linux cuts the names of disks. */
static void disk_path(char *to, size_t size, const char *name)
{
	join(to, size, "/dev/", name);
	to[strlen("/dev/") + strnlen(name, LKL_DISK_NAME_MAX)] = 0;
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

/* Returns the flags in a list of options, and copies the other options to rest. */
static unsigned long split_options(const char *options, char *rest, size_t size)
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

/*
 * Without a type: ext4, then ISO 9660, then, if the disk is read-only, ext4
 * read-only. The error of the first attempt is returned.
 */
static long mount_disk(const char *device, const char *path, const char *type, const char *list)
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

static const char *mount_error(long err)
{
	if (err == -EINVAL)
		return "it holds no ext4 and no ISO 9660 file system, is damaged or cut short, or an option is unknown";
	return error_text(err);
}

static void mount_root(const struct config *c)
{
	char device[80];
	const char *name = c->root ? c->root : "rootfs";
	long err;

	disk_path(device, sizeof(device), name);
	if (CALL(SYS_access, device, 0) < 0) {
		say("lkl: the guest has no block device \"", name, "\" for its root file system", NULL);
		finish(LKL_EXIT_ROOT);
	}
	err = mount_disk(device, ROOT, NULL, c->root_options);
	if (err < 0) {
		say("lkl: cannot mount the root file system from block device \"", name, "\": ",
		    mount_error(err), NULL);
		finish(LKL_EXIT_ROOT);
	}
	unmount_at_exit(ROOT, true);
}

static void mount_standard(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(standard); i++) {
		const char *type = standard[i].type, *path = standard[i].path;
		long made = CALL(SYS_mkdir, path, 0755);
		long err = CALL(SYS_mount, type, path, type, standard[i].flags, standard[i].options);

		if (err == 0)
			unmount_at_exit(path, false);
		/* Report why the directory could not be created, not that it is missing. */
		if (err == -ENOENT && made < 0)
			err = made;
		if (err < 0)
			say("lkl: cannot mount ", path + strlen(ROOT), ": ", error_text(err), NULL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		CALL(SYS_symlink, links[i].target, links[i].path);
	/* /dev/stdout leads to the console. A program that is not root opens it too. */
	CALL(SYS_chmod, ROOT "/dev/console", 0666);
}

static void mount_extra(const struct mount *m)
{
	static char paths[MAX_MOUNTS][256];
	static int n_paths;
	char device[80], *path = paths[n_paths++];
	long err;

	if (!m->device || !m->path || m->path[0] != '/') {
		say("lkl: --config: a mount needs a device and an absolute path", NULL);
		finish(LKL_EXIT_CONFIG);
	}
	disk_path(device, sizeof(device), m->device);
	join(path, sizeof(paths[0]), ROOT, m->path);
	CALL(SYS_mkdir, path, 0755);
	err = mount_disk(device, path, m->type, m->options);
	if (err < 0) {
		say("lkl: cannot mount block device \"", m->device, "\" on ", m->path, ": ",
		    mount_error(err), NULL);
		finish(LKL_EXIT_ROOT);
	}
	unmount_at_exit(path, true);
}

void mount_all(const struct config *c)
{
	/* For the start program itself. */
	CALL(SYS_mkdir, "/proc", 0555);
	CALL(SYS_mount, "proc", "/proc", "proc", 0, 0);
	CALL(SYS_mount, "devtmpfs", "/dev", "devtmpfs", 0, 0);
	mount_root(c);
	mount_standard();
	for (int i = 0; i < c->n_mounts; i++)
		mount_extra(&c->mounts[i]);
}
