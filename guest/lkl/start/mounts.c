/* SPDX-License-Identifier: MPL-2.0 */
/* The root file system, what lies in it, and the way back. The kernel's own root is a small file system in memory. */
#include "start.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>

#define ROOT "/root"

/* Mounted on directories of the root; those that it lacks are made. */
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

/* What udev makes elsewhere. */
static const struct {
	const char *path, *target;
} links[] = {
	{ ROOT "/dev/fd", "/proc/self/fd" },
	{ ROOT "/dev/stdin", "/proc/self/fd/0" },
	{ ROOT "/dev/stdout", "/proc/self/fd/1" },
	{ ROOT "/dev/stderr", "/proc/self/fd/2" },
};

static char paths[MAX_MOUNTS][256];	/* of the configuration's mounts, as pid 1 sees them */
static int n_paths;
static bool have_root;

static const char *join(char *to, size_t size, const char *a, const char *b)
{
	size_t n = strlen(a);

	if (n + strlen(b) >= size) {
		say("lkl: the path is too long: ", b, NULL);
		finish(EXIT_WORDS);
	}
	memcpy(to, a, n);
	strcpy(to + n, b);
	return to;
}

/* Linux names a disk by this much of its name in the manifest (DISK_NAME_LEN). */
#define DISK_NAME_MAX 31

static void disk_path(char *to, size_t size, const char *name)
{
	join(to, size, "/dev/", name);
	to[sizeof("/dev/") - 1 + strnlen(name, DISK_NAME_MAX)] = 0;
}

/* Options that are no file system's own. */
static const struct {
	const char *name;
	unsigned long flag;
} flag_options[] = {
	{ "rw", 0 }, { "ro", MS_RDONLY }, { "sync", MS_SYNCHRONOUS }, { "dirsync", MS_DIRSYNC }, { "noatime", MS_NOATIME },
	{ "nodiratime", MS_NODIRATIME }, { "relatime", MS_RELATIME }, { "nodev", MS_NODEV }, { "noexec", MS_NOEXEC },
	{ "nosuid", MS_NOSUID },
};

/* Takes those off the n bytes at option if they are one of them. */
static bool take_flag(const char *option, size_t n, unsigned long *flags)
{
	for (size_t i = 0; i < sizeof(flag_options) / sizeof(flag_options[0]); i++)
		if (strlen(flag_options[i].name) == n && !memcmp(flag_options[i].name, option, n)) {
			*flags |= flag_options[i].flag;
			return true;
		}
	return false;
}

/* Parts a list with commas: flags, and in rest what the file system has to know. */
static unsigned long part_options(const char *options, char *rest, size_t size)
{
	unsigned long flags = 0;
	size_t used = 0, n;

	for (; options && *options; options += n + (options[n] == ',')) {
		n = strcspn(options, ",");
		if (take_flag(options, n, &flags))
			continue;
		if (used + n + 2 > size) {
			say("lkl: --config: the mount options are too long: ", options, NULL);
			finish(EXIT_WORDS);
		}
		if (used)
			rest[used++] = ',';
		memcpy(rest + used, options, n);
		used += n;
	}
	rest[used] = 0;
	return flags;
}

/* ext4 read-write, else read-only, else iso9660; the first error counts. */
static long mount_disk(const char *device, const char *path, const char *type, const char *list)
{
	char options[256];
	unsigned long flags = part_options(list, options, sizeof(options));
	long err, first;

	first = CALL(SYS_mount, device, path, type ? type : "ext4", flags, options);
	if (first == 0 || type)
		return first;
	err = CALL(SYS_mount, device, path, "iso9660", MS_RDONLY, 0);
	if (err < 0 && first == -EROFS)
		err = CALL(SYS_mount, device, path, "ext4", MS_RDONLY, options);
	return err ? first : 0;
}

static const char *mount_reason(long err)
{
	return err == -EINVAL ? "it holds no ext4 and no ISO 9660 file system, is damaged or cut short, or an option is unknown" :
				reason(err);
}

static void mount_root(const struct config *c)
{
	char device[80];
	const char *name = c->root ? c->root : "rootfs";
	long err;

	disk_path(device, sizeof(device), name);
	if (CALL(SYS_access, device, 0) < 0) {
		say("lkl: the guest has no block device \"", name, "\" for its root file system", NULL);
		finish(EXIT_ROOT);
	}
	err = mount_disk(device, ROOT, NULL, c->root_options);
	if (err < 0) {
		say("lkl: cannot mount the root file system from block device \"", name, "\": ", mount_reason(err), NULL);
		finish(EXIT_ROOT);
	}
	have_root = true;
}

static void mount_more(const struct mount *m)
{
	char device[80];
	long err;

	if (!m->device || !m->path || m->path[0] != '/') {
		say("lkl: --config: a mount needs a device and an absolute path", NULL);
		finish(EXIT_WORDS);
	}
	disk_path(device, sizeof(device), m->device);
	join(paths[n_paths], sizeof(paths[0]), ROOT, m->path);
	CALL(SYS_mkdir, paths[n_paths], 0755);
	err = mount_disk(device, paths[n_paths], m->type, m->options);
	if (err < 0) {
		say("lkl: cannot mount block device \"", m->device, "\" on ", m->path, ": ", mount_reason(err), NULL);
		finish(EXIT_ROOT);
	}
	n_paths++;
}

void mount_all(const struct config *c)
{
	CALL(SYS_mkdir, "/proc", 0555);
	CALL(SYS_mount, "proc", "/proc", "proc", 0, 0);
	CALL(SYS_mount, "devtmpfs", "/dev", "devtmpfs", 0, 0);
	mount_root(c);
	for (size_t i = 0; i < sizeof(standard) / sizeof(standard[0]); i++) {
		long err, made = CALL(SYS_mkdir, standard[i].path, 0755);

		err = CALL(SYS_mount, standard[i].type, standard[i].path, standard[i].type, standard[i].flags,
			   standard[i].options);
		/* Why there is no directory says more than that there is none. */
		if (err == -ENOENT && made < 0)
			err = made;
		if (err < 0)
			say("lkl: cannot mount ", standard[i].path + strlen(ROOT), ": ", reason(err), NULL);
	}
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		CALL(SYS_symlink, links[i].target, links[i].path);
	CALL(SYS_chmod, ROOT "/dev/console", 0666);	/* a program that is not root opens /dev/stdout too */
	for (int i = 0; i < c->n_mounts; i++)
		mount_more(&c->mounts[i]);
}

/* A disk that somebody still uses is at least made read-only, which leaves it clean. */
static void unmount(const char *path)
{
	if (CALL(SYS_umount2, path, 0) < 0 && CALL(SYS_mount, "none", path, 0, MS_REMOUNT | MS_RDONLY, 0) < 0)
		say("lkl: the file system on ", path[strlen(ROOT)] ? path + strlen(ROOT) : "/", " could not be unmounted cleanly", NULL);
}

void unmount_all(void)
{
	if (!have_root)
		return;
	while (n_paths)
		unmount(paths[--n_paths]);
	for (int i = sizeof(standard) / sizeof(standard[0]) - 1; i >= 0; i--)
		CALL(SYS_umount2, standard[i].path, MNT_DETACH);
	unmount(ROOT);
}
