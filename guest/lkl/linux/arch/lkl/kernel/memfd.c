// SPDX-License-Identifier: GPL-2.0-only
/*
 * memfd_create(): the generic one needs an MMU. The file has no seals: F_ADD_SEALS
 * returns EINVAL.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/syscalls.h>
#include <uapi/linux/memfd.h>
#include <asm/lkl.h>
#include "tmpfs.h"

long lkl_memfd_create(const char __user *uname, unsigned int flags)
{
	char name[NAME_MAX + 1] = "memfd:";
	const size_t prefix = sizeof("memfd:") - 1;
	struct file *file;
	long n;
	int fd;

	if (flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING))
		return -EINVAL;
	n = strncpy_from_user(name + prefix, uname, sizeof(name) - prefix);
	if (n < 0)
		return n;
	if (n == sizeof(name) - prefix)
		return -EINVAL;
	fd = get_unused_fd_flags(flags & MFD_CLOEXEC ? O_CLOEXEC : 0);
	if (fd < 0)
		return fd;
	file = lkl_tmpfs_open_unnamed(name);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
	file->f_flags |= O_LARGEFILE;
	fd_install(fd, file);
	return fd;
}
