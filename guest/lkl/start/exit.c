/* SPDX-License-Identifier: MPL-2.0 */
/* The end of the guest. */
#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>

/* The root, the directories that the start program mounts on it, and the configuration's mounts. */
static struct {
	const char *path;
	bool disk;
} mounts[MAX_MOUNTS + 8];
static size_t n_mounts;

void unmount_at_exit(const char *path, bool disk)
{
	if (n_mounts < ARRAY_SIZE(mounts)) {
		mounts[n_mounts].path = path;
		mounts[n_mounts++].disk = disk;
	}
}

/*
 * Writes everything to its final place. ext4's journal is empty afterwards. Returns 0
 * or a negative error number.
 */
static long write_back(const char *path)
{
	long fd = CALL(SYS_open, path, O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return fd;
	err = CALL(SYS_ioctl, fd, FIFREEZE, 0);
	if (err == 0)
		CALL(SYS_ioctl, fd, FITHAW, 0);
	CALL(SYS_close, fd);
	/* A file system that is never written, or that the program has frozen. */
	return err == -EOPNOTSUPP || err == -EBUSY ? 0 : err;
}

/*
 * ext4_put_super() marks the journal as empty even if it could not write its content
 * back. So a disk with a write error stays mounted, and the next mount replays the
 * journal. A disk that is still in use is made read-only, which leaves it clean as well.
 */
static void unmount_disk(const char *path, const char *name)
{
	long err = write_back(path);

	if (err < 0) {
		say("lkl: the file system on ", name, " could not be written back: ", error_text(err),
		    "; the next mount must recover it", NULL);
		return;
	}
	if (CALL(SYS_umount2, path, 0) == 0)
		return;
	if (CALL(SYS_mount, "none", path, 0, MS_REMOUNT | MS_RDONLY, 0) < 0)
		say("lkl: the file system on ", name, " could not be unmounted cleanly", NULL);
}

/* The paths of all mounts but the first may contain symbolic links of the root. */
static void unmount_all(void)
{
	long outside = CALL(SYS_open, "/", O_PATH);

	CALL(SYS_chroot, ROOT);
	CALL(SYS_chdir, "/");
	while (n_mounts > 1) {
		n_mounts--;
		if (mounts[n_mounts].disk)
			unmount_disk(mounts[n_mounts].path, mounts[n_mounts].path);
		else
			CALL(SYS_umount2, mounts[n_mounts].path, MNT_DETACH);
	}
	CALL(SYS_fchdir, outside);
	CALL(SYS_chroot, ".");
	if (n_mounts)
		unmount_disk(ROOT, "/");
}

_Noreturn void finish(int status)
{
	CALL(SYS_kill, -1, SIGKILL);
	while (CALL(SYS_wait4, -1, 0, 0, 0) > 0)
		;
	CALL(LKL_NR_UNMAP, cmdline_kept());
	unmount_all();
	CALL(SYS_sync);
	for (;;)
		CALL(LKL_NR_EXIT, status);
}
