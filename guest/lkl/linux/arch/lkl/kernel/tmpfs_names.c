// SPDX-License-Identifier: GPL-2.0-only
/* tmpfs: inodes and their names. A dentry refers to its inode until it is unlinked. */
#include <linux/fs.h>
#include <linux/pagemap.h>
#include <linux/posix_acl.h>
#include <linux/slab.h>
#include "tmpfs.h"

static int lkl_tmpfs_mknod(struct user_namespace *ns, struct inode *dir, struct dentry *dentry,
			   umode_t mode, dev_t dev)
{
	struct inode *inode = lkl_tmpfs_new_inode(dir->i_sb, dir, mode, dev);
	int err;

	if (!inode)
		return -ENOSPC;
	err = simple_acl_create(dir, inode);
	if (err) {
		iput(inode);
		return err;
	}
	d_instantiate(dentry, inode);
	dget(dentry);
	dir->i_mtime = current_time(dir);
	dir->i_ctime = dir->i_mtime;
	return 0;
}

static int lkl_tmpfs_create(struct user_namespace *ns, struct inode *dir, struct dentry *dentry,
			    umode_t mode, bool excl)
{
	return lkl_tmpfs_mknod(ns, dir, dentry, mode | S_IFREG, 0);
}

static int lkl_tmpfs_mkdir(struct user_namespace *ns, struct inode *dir, struct dentry *dentry,
			   umode_t mode)
{
	int err = lkl_tmpfs_mknod(ns, dir, dentry, mode | S_IFDIR, 0);

	if (!err)
		inc_nlink(dir);
	return err;
}

static int lkl_tmpfs_symlink(struct user_namespace *ns, struct inode *dir, struct dentry *dentry,
			     const char *target)
{
	char *copy = kstrdup(target, GFP_KERNEL);
	int err;

	if (!copy)
		return -ENOMEM;
	err = lkl_tmpfs_mknod(ns, dir, dentry, S_IFLNK | 0777, 0);
	if (err) {
		kfree(copy);
		return err;
	}
	d_inode(dentry)->i_link = copy;
	d_inode(dentry)->i_size = strlen(copy);
	return 0;
}

static int lkl_tmpfs_tmpfile(struct user_namespace *ns, struct inode *dir, struct file *file,
			     umode_t mode)
{
	struct inode *inode = lkl_tmpfs_new_inode(dir->i_sb, dir, mode, 0);
	int err;

	if (!inode)
		return finish_open_simple(file, -ENOSPC);
	err = simple_acl_create(dir, inode);
	if (err)
		iput(inode);
	else
		d_tmpfile(file, inode);
	return finish_open_simple(file, err);
}

/* The first name of an inode without one, of O_TMPFILE, is not a further name. */
static int lkl_tmpfs_link(struct dentry *old, struct inode *dir, struct dentry *dentry)
{
	bool further = d_inode(old)->i_nlink > 0;

	if (further && !lkl_tmpfs_take_inode(lkl_tmpfs_of(dir)))
		return -ENOSPC;
	return simple_link(old, dir, dentry);
}

/* Called when a name of an inode vanishes. */
static void lkl_tmpfs_put_name(struct inode *inode)
{
	if (!S_ISDIR(inode->i_mode) && inode->i_nlink > 0)
		lkl_tmpfs_put_inode(lkl_tmpfs_of(inode));
}

static int lkl_tmpfs_unlink(struct inode *dir, struct dentry *dentry)
{
	int err = simple_unlink(dir, dentry);

	if (!err)
		lkl_tmpfs_put_name(d_inode(dentry));
	return err;
}

static int lkl_tmpfs_rename(struct user_namespace *ns, struct inode *from, struct dentry *old,
			    struct inode *to, struct dentry *new, unsigned int flags)
{
	struct inode *replaced = flags & RENAME_EXCHANGE ? NULL : d_inode(new);
	int err = simple_rename(ns, from, old, to, new, flags);

	if (!err && replaced)
		lkl_tmpfs_put_name(replaced);
	return err;
}

static const struct inode_operations lkl_tmpfs_dir_ops = {
	.create = lkl_tmpfs_create,
	.lookup = simple_lookup,
	.link = lkl_tmpfs_link,
	.unlink = lkl_tmpfs_unlink,
	.symlink = lkl_tmpfs_symlink,
	.mkdir = lkl_tmpfs_mkdir,
	.rmdir = simple_rmdir,
	.mknod = lkl_tmpfs_mknod,
	.rename = lkl_tmpfs_rename,
	.tmpfile = lkl_tmpfs_tmpfile,
	.setattr = lkl_tmpfs_setattr,
	.listxattr = lkl_tmpfs_listxattr,
	.set_acl = simple_set_acl,
};

static const struct inode_operations lkl_tmpfs_other_ops = {
	.setattr = lkl_tmpfs_setattr,
	.listxattr = lkl_tmpfs_listxattr,
	.set_acl = simple_set_acl,
};

static const struct inode_operations lkl_tmpfs_link_ops = {
	.get_link = simple_get_link,
	.setattr = lkl_tmpfs_setattr,
	.listxattr = lkl_tmpfs_listxattr,
};

static void lkl_tmpfs_init_data(struct address_space *mapping)
{
	mapping->a_ops = &lkl_tmpfs_aops;
	/* The page allocator must not kill the program when it fails. */
	mapping_set_gfp_mask(mapping, GFP_HIGHUSER_MOVABLE | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	mapping_set_unevictable(mapping);
}

struct inode *lkl_tmpfs_new_inode(struct super_block *sb, struct inode *dir, umode_t mode,
				  dev_t dev)
{
	struct inode *inode;

	if (!lkl_tmpfs_take_inode(sb->s_fs_info))
		return NULL;
	inode = new_inode(sb);
	if (!inode) {
		lkl_tmpfs_put_inode(sb->s_fs_info);
		return NULL;
	}
	inode->i_ino = get_next_ino();
	inode_init_owner(&init_user_ns, inode, dir, mode);
	inode->i_mtime = current_time(inode);
	inode->i_atime = inode->i_mtime;
	inode->i_ctime = inode->i_mtime;
	cache_no_acl(inode);
	inode->i_op = &lkl_tmpfs_other_ops;
	switch (mode & S_IFMT) {
	case S_IFREG:
		lkl_tmpfs_init_data(inode->i_mapping);
		inode->i_fop = &lkl_tmpfs_file_ops;
		break;
	case S_IFDIR:
		inode->i_op = &lkl_tmpfs_dir_ops;
		inode->i_fop = &simple_dir_operations;
		inc_nlink(inode);
		break;
	case S_IFLNK:
		inode->i_op = &lkl_tmpfs_link_ops;
		break;
	default:
		init_special_inode(inode, mode, dev);
	}
	return inode;
}
