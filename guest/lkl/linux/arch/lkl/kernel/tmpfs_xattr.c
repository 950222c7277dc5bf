// SPDX-License-Identifier: GPL-2.0-only
/* tmpfs: extended attributes. Their memory counts as that of data. */
#include <linux/fs.h>
#include <linux/posix_acl_xattr.h>
#include <linux/xattr.h>
#include "tmpfs.h"

/* The memory for an attribute with a short name. */
#define LKL_TMPFS_XATTR_BYTES 128

static int lkl_tmpfs_get_xattr(const struct xattr_handler *handler, struct dentry *dentry,
			       struct inode *inode, const char *name, void *buffer, size_t size)
{
	return simple_xattr_get(&lkl_tmpfs_info(inode)->xattrs, xattr_full_name(handler, name),
				buffer, size);
}

static void lkl_tmpfs_count_xattr(struct inode *inode, long bytes)
{
	lkl_tmpfs_info(inode)->xattr_bytes += bytes;
	lkl_tmpfs_of(inode)->xattr_bytes += bytes;
}

/* Without a value, it removes the attribute. */
static int lkl_tmpfs_set_xattr(const struct xattr_handler *handler, struct user_namespace *ns,
			       struct dentry *dentry, struct inode *inode, const char *name,
			       const void *value, size_t size, int flags)
{
	unsigned long bytes = LKL_TMPFS_XATTR_BYTES + size;
	ssize_t removed;
	int err;

	if (value && lkl_tmpfs_room(lkl_tmpfs_of(inode)) < DIV_ROUND_UP(bytes, PAGE_SIZE))
		return -ENOSPC;
	err = simple_xattr_set(&lkl_tmpfs_info(inode)->xattrs, xattr_full_name(handler, name),
			       value, size, flags, &removed);
	if (err)
		return err;
	if (value)
		lkl_tmpfs_count_xattr(inode, bytes);
	if (removed >= 0)
		lkl_tmpfs_count_xattr(inode, -(LKL_TMPFS_XATTR_BYTES + removed));
	inode->i_ctime = current_time(inode);
	return 0;
}

ssize_t lkl_tmpfs_listxattr(struct dentry *dentry, char *buffer, size_t size)
{
	struct inode *inode = d_inode(dentry);

	return simple_xattr_list(inode, &lkl_tmpfs_info(inode)->xattrs, buffer, size);
}

void lkl_tmpfs_free_xattrs(struct inode *inode)
{
	lkl_tmpfs_count_xattr(inode, -lkl_tmpfs_info(inode)->xattr_bytes);
	simple_xattrs_free(&lkl_tmpfs_info(inode)->xattrs);
}

static const struct xattr_handler lkl_tmpfs_user_xattrs = {
	.prefix = XATTR_USER_PREFIX,
	.get = lkl_tmpfs_get_xattr,
	.set = lkl_tmpfs_set_xattr,
};

static const struct xattr_handler lkl_tmpfs_trusted_xattrs = {
	.prefix = XATTR_TRUSTED_PREFIX,
	.get = lkl_tmpfs_get_xattr,
	.set = lkl_tmpfs_set_xattr,
};

static const struct xattr_handler lkl_tmpfs_security_xattrs = {
	.prefix = XATTR_SECURITY_PREFIX,
	.get = lkl_tmpfs_get_xattr,
	.set = lkl_tmpfs_set_xattr,
};

const struct xattr_handler *lkl_tmpfs_xattr_handlers[] = {
	&posix_acl_access_xattr_handler,
	&posix_acl_default_xattr_handler,
	&lkl_tmpfs_user_xattrs,
	&lkl_tmpfs_trusted_xattrs,
	&lkl_tmpfs_security_xattrs,
	NULL
};
