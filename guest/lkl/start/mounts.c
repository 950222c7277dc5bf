/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Mounts the root file system on /root, and everything else below it. The program
 * later runs in a chroot there; / is a small file system in memory.
 */
#include "start.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>

/* A directory that the root file system lacks is created. */
static const struct {
	const char *type, *path, *options;
	unsigned long flags;
} standard[] = {
	{ "proc", ROOT "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "sysfs", ROOT "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "devtmpfs", ROOT "/dev", NULL, MS_NOSUID },
	{ "tmpfs", ROOT "/tmp", "mode=1777", MS_NOSUID | MS_NODEV },
	{ "tmpfs", ROOT "/run", "mode=755", MS_NOSUID | MS_NODEV },
	{ "tmpfs", ROOT "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV },
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

static void mount_root(const struct config *c)
{
	char device[DISK_PATH_SIZE];
	const char *name = c->root ? c->root : "rootfs";
	long err;

	disk_path(device, name);
	if (CALL(SYS_access, device, 0) < 0) {
		say("lkl: the guest has no block device \"", name, "\" for its root file system", NULL);
		finish(LKL_EXIT_ROOT);
	}
	err = mount_disk(device, ROOT, NULL, c->root_options);
	if (err < 0) {
		if (c->root_options && *c->root_options)
			say("lkl: the options of this mount: ", c->root_options, NULL);
		say("lkl: cannot mount the root file system from block device \"", name, "\": ",
		    mount_error(err), NULL);
		finish(LKL_EXIT_ROOT);
	}
	unmount_at_exit("/", true);
}

static void mount_standard(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(standard); i++) {
		const char *type = standard[i].type, *path = standard[i].path;
		long made = CALL(SYS_mkdir, path, 0755);
		long err = CALL(SYS_mount, type, path, type, standard[i].flags, standard[i].options);

		if (err == 0)
			unmount_at_exit(path + strlen(ROOT), false);
		/* Report why the directory could not be created, not that it is missing. */
		if (err == -ENOENT && made < 0)
			err = made;
		if (err < 0)
			say("lkl: cannot mount ", path + strlen(ROOT), ": ", error_text(err), NULL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		CALL(SYS_symlink, links[i].target, links[i].path);
	/* /dev/stdout may lead to a terminal. A program that is not root opens it too. */
	CALL(SYS_chmod, ROOT "/dev/console", 0666);
	CALL(SYS_chmod, ROOT "/dev/ttyS0", 0666);
	CALL(SYS_chmod, ROOT "/dev/ttyS1", 0666);
}

void mount_own(void)
{
	CALL(SYS_mkdir, "/proc", 0555);
	CALL(SYS_mount, "proc", "/proc", "proc", 0, 0);
	CALL(SYS_mount, "devtmpfs", "/dev", "devtmpfs", 0, 0);
}

void mount_all(const struct config *c)
{
	mount_root(c);
	mount_standard();
	for (int i = 0; i < c->n_mounts; i++)
		mount_configured(&c->mounts[i]);
}
