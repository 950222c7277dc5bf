/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The mounts of the configuration: disks, file systems in memory, and live
 * directories of the host. The directory of a hostfs contains an entry for each of
 * the last; the program does not see it, but each entry where it belongs.
 */
#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/stat.h>

/* Outside of the program's root. */
#define HOSTFS "/hostfs"

static _Noreturn void fail(const struct mount *m, const char *why)
{
	if (m->options && *m->options)
		say("lkl: the options of this mount: ", m->options, NULL);
	/* The name of a live directory is a number that only the tender knows. */
	if (m->type && !strcmp(m->type, "hostfs"))
		say("lkl: cannot mount the host's file or directory on ", m->path, ": ", why, NULL);
	else if (m->type && !strcmp(m->type, "tmpfs"))
		say("lkl: cannot mount a tmpfs on ", m->path, ": ", why, NULL);
	else
		say("lkl: cannot mount block device \"", m->device, "\" on ", m->path, ": ", why,
		    NULL);
	finish(LKL_EXIT_ROOT);
}

/* Returns the mount point. */
static long open_place(const struct mount *m, bool file)
{
	long fd = mount_point_open(m->path, file);

	if (fd == -EROFS)
		fail(m, "the mount point does not exist, and the file system there is read-only: "
			"create it in the image");
	if (fd < 0) {
		say("lkl: the mount point ", m->path, " cannot be created", NULL);
		fail(m, error_text(fd));
	}
	return fd;
}

/* A path of an open file. */
static const char *descriptor_path(long fd)
{
	static char path[32] = "/proc/self/fd/";
	char *p = path + strlen("/proc/self/fd/"), digits[20];
	int n = 0;

	do
		digits[n++] = '0' + fd % 10;
	while (fd /= 10);
	while (n)
		*p++ = digits[--n];
	*p = 0;
	return path;
}

static void mount_block_device(const struct mount *m)
{
	char device[DISK_PATH_SIZE];
	long place = open_place(m, false), err;

	disk_path(device, m->device);
	err = mount_disk(device, descriptor_path(place), m->type, m->options);
	CALL(SYS_close, place);
	if (err < 0)
		fail(m, mount_error(err));
	unmount_at_exit(m->path, true);
}

static void mount_memory(const struct mount *m)
{
	char options[256];
	unsigned long flags = split_options(m->options, options, sizeof(options));
	long place = open_place(m, false), err;

	err = CALL(SYS_mount, m->device, descriptor_path(place), "tmpfs", flags, options);
	CALL(SYS_close, place);
	if (err == -EINVAL)
		fail(m, "an option is unknown or has an invalid value");
	if (err < 0)
		fail(m, error_text(err));
	unmount_at_exit(m->path, false);
}

/* Returns a copy of the mount of an entry, without a place. */
static long clone_entry(const struct mount *m)
{
	static long hostfs = -1;
	long err, tree;

	if (hostfs < 0) {
		CALL(SYS_mkdir, HOSTFS, 0700);
		err = CALL(SYS_mount, "hostfs", HOSTFS, "hostfs", 0, 0);
		if (err == -ENODEV)
			fail(m, "the guest has no device \"files\"");
		if (err < 0)
			fail(m, "the file server does not answer");
		hostfs = CALL(SYS_open, HOSTFS, O_PATH | O_CLOEXEC);
	}
	tree = CALL(SYS_open_tree, hostfs, m->device, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		fail(m, tree == -ENOENT ? "the file server does not have it" : error_text(tree));
	return tree;
}

static bool is_directory(long fd)
{
	struct stat st;

	return CALL(SYS_fstat, fd, &st) == 0 && S_ISDIR(st.st_mode);
}

static void mount_live(const struct mount *m)
{
	char rest[256];
	/* The flags have the same values in both interfaces. */
	unsigned long flags = split_options(m->options, rest, sizeof(rest));
	struct mount_attr attributes = { .attr_set = flags };
	const unsigned long known = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
				    MOUNT_ATTR_NOEXEC;
	long tree = clone_entry(m), place, err;
	struct stat st;

	if (*rest || flags & ~known)
		fail(m, "the options are not among rw, ro, nosuid, nodev and noexec");
	err = CALL(SYS_fstat, tree, &st);
	if (err < 0)
		fail(m, error_text(err));
	place = open_place(m, !S_ISDIR(st.st_mode));
	if (is_directory(place) != S_ISDIR(st.st_mode))
		fail(m, S_ISDIR(st.st_mode) ? "it is a directory, but the mount point is a file" :
					      "it is a file, but the mount point is a directory");
	err = CALL(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof(attributes));
	if (err == 0)
		err = CALL(SYS_move_mount, tree, "", place, "",
			   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
	CALL(SYS_close, place);
	CALL(SYS_close, tree);
	if (err < 0)
		fail(m, error_text(err));
	unmount_at_exit(m->path, false);
}

void mount_configured(const struct mount *m)
{
	if (!m->device || !m->path || m->path[0] != '/') {
		say("lkl: --config: a mount needs a device and an absolute path", NULL);
		finish(LKL_EXIT_CONFIG);
	}
	if (m->type && !strcmp(m->type, "hostfs"))
		mount_live(m);
	else if (m->type && !strcmp(m->type, "tmpfs"))
		mount_memory(m);
	else
		mount_block_device(m);
}
