/* SPDX-License-Identifier: MPL-2.0 */
/* The end of the guest. */
#include "start.h"

#include <signal.h>
#include <string.h>
#include <sys/mount.h>

#define ROOT "/root"

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

/* A disk that is still in use is made read-only, which leaves it clean as well. */
static void unmount_disk(const char *path)
{
	const char *in_guest = path + strlen(ROOT);

	if (CALL(SYS_umount2, path, 0) == 0)
		return;
	if (CALL(SYS_mount, "none", path, 0, MS_REMOUNT | MS_RDONLY, 0) < 0)
		say("lkl: the file system on ", *in_guest ? in_guest : "/",
		    " could not be unmounted cleanly", NULL);
}

static void unmount_all(void)
{
	while (n_mounts) {
		n_mounts--;
		if (mounts[n_mounts].disk)
			unmount_disk(mounts[n_mounts].path);
		else
			CALL(SYS_umount2, mounts[n_mounts].path, MNT_DETACH);
	}
}

_Noreturn void finish(int status)
{
	CALL(SYS_kill, -1, SIGKILL);
	while (CALL(SYS_wait4, -1, 0, 0, 0) > 0)
		;
	CALL(LKL_NR_UNMAP);
	unmount_all();
	CALL(SYS_sync);
	for (;;)
		CALL(LKL_NR_EXIT, status);
}
