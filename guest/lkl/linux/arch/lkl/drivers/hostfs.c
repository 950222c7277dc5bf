// SPDX-License-Identifier: GPL-2.0-only
/*
 * hostfs: live directories of the host. The file system is that of fs/fuse; its
 * server is a process on the host, at the other end of hostfs_channel.c. The root
 * directory has an entry for each directory and file that the host shares. The start
 * program binds the entries to their places.
 *
 * A lookup always asks the server, so the guest sees a file that the host has
 * replaced. Pages are cached while a file is open, until its size or time of
 * modification changes. write() returns when the server has the data. Locks, FIFOs and
 * sockets are local to the guest.
 */
#include <linux/fs_context.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/xattr.h>
#include "hostfs.h"

/* Eight reads can be in flight at a time (hostfs_channel.c). */
#define HOSTFS_READAHEAD (SZ_512K / PAGE_SIZE)

/*
 * Only user attributes exist. In particular, write() need not ask the server for
 * security.capability, because the guest cannot execute files.
 */
static int hostfs_xattr_get(const struct xattr_handler *handler, struct dentry *dentry,
			    struct inode *inode, const char *name, void *value, size_t size)
{
	if (fuse_is_bad(inode))
		return -EIO;
	return fuse_getxattr(inode, xattr_full_name(handler, name), value, size);
}

static int hostfs_xattr_set(const struct xattr_handler *handler, struct user_namespace *userns,
			    struct dentry *dentry, struct inode *inode, const char *name,
			    const void *value, size_t size, int flags)
{
	const char *full = xattr_full_name(handler, name);

	if (fuse_is_bad(inode))
		return -EIO;
	if (!value)
		return fuse_removexattr(inode, full);
	return fuse_setxattr(inode, full, value, size, flags, 0);
}

static const struct xattr_handler hostfs_xattr_user = {
	.prefix = XATTR_USER_PREFIX,
	.get = hostfs_xattr_get,
	.set = hostfs_xattr_set,
};

static const struct xattr_handler *hostfs_xattr_handlers[] = { &hostfs_xattr_user, NULL };

/* Makes the limits of the connection fit the channel, whatever the server has chosen. */
static int hostfs_negotiate(struct super_block *sb)
{
	struct fuse_conn *conn = get_fuse_conn_super(sb);

	fuse_send_init(get_fuse_mount_super(sb));
	if (wait_event_killable(conn->blocked_waitq, conn->initialized))
		return -EINTR;
	if (conn->conn_error || !conn->connected)
		return -EIO;
	conn->max_pages = min_t(unsigned int, conn->max_pages, HOSTFS_MAX_PAGES);
	conn->max_write = min_t(unsigned int, conn->max_write, HOSTFS_MAX_PAGES * PAGE_SIZE);
	sb->s_xattr = hostfs_xattr_handlers;
	return 0;
}

static int hostfs_fill_super(struct super_block *sb)
{
	struct fuse_conn *conn = get_fuse_conn_super(sb);
	struct fuse_fs_context options = {
		.rootmode = S_IFDIR,
		.default_permissions = true,
		.allow_other = true,
		.no_control = true,
		.no_force_umount = true,
		.max_read = HOSTFS_MAX_PAGES * PAGE_SIZE,
		.blksize = PAGE_SIZE,
	};
	int err;

	conn->max_pages_limit = HOSTFS_MAX_PAGES;
	conn->no_interrupt = true;
	/* The server keeps a file open as long as the guest has a dentry of it. */
	conn->delete_stale = true;
	err = hostfs_channel_open(conn);
	if (err)
		return err;
	err = fuse_fill_super_common(sb, &options);
	if (err) {
		hostfs_channel_close();
		return err;
	}
	sb->s_bdi->ra_pages = HOSTFS_READAHEAD;
	return hostfs_negotiate(sb);
}

/* There is one device, so a second mount shows the same file system. */
static int hostfs_same_super(struct super_block *sb, struct fs_context *fc)
{
	return true;
}

static int hostfs_get_tree(struct fs_context *fc)
{
	struct fuse_conn *conn = kzalloc(sizeof(*conn), GFP_KERNEL);
	struct fuse_mount *mount = kzalloc(sizeof(*mount), GFP_KERNEL);
	struct super_block *sb;
	int err;

	if (!conn || !mount) {
		kfree(conn);
		kfree(mount);
		return -ENOMEM;
	}
	fuse_conn_init(conn, mount, fc->user_ns, &hostfs_queue_ops, NULL);
	conn->release = fuse_free_conn;
	fc->s_fs_info = mount;
	sb = sget_fc(fc, hostfs_same_super, set_anon_super_fc);
	if (fc->s_fs_info)
		fuse_mount_destroy(mount);
	if (IS_ERR(sb))
		return PTR_ERR(sb);
	if (!sb->s_root) {
		err = hostfs_fill_super(sb);
		if (err) {
			deactivate_locked_super(sb);
			return err;
		}
		sb->s_flags |= SB_ACTIVE;
	}
	fc->root = dget(sb->s_root);
	return 0;
}

static const struct fs_context_operations hostfs_context_ops = {
	.get_tree = hostfs_get_tree,
};

static int hostfs_init_context(struct fs_context *fc)
{
	if (!hostfs_channel_exists())
		return -ENODEV;
	fc->ops = &hostfs_context_ops;
	return 0;
}

static void hostfs_kill_sb(struct super_block *sb)
{
	struct fuse_mount *mount = get_fuse_mount_super(sb);

	if (sb->s_root && fuse_mount_remove(mount)) {
		fuse_conn_destroy(mount);
		hostfs_channel_close();
	}
	kill_anon_super(sb);
	fuse_mount_destroy(mount);
}

static struct file_system_type hostfs_type = {
	.owner = THIS_MODULE,
	.name = "hostfs",
	.init_fs_context = hostfs_init_context,
	.kill_sb = hostfs_kill_sb,
};

static int __init hostfs_init(void)
{
	return register_filesystem(&hostfs_type);
}
device_initcall(hostfs_init);
