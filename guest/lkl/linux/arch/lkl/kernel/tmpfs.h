/* SPDX-License-Identifier: GPL-2.0-only */
/* The parts of tmpfs: tmpfs.c, tmpfs_names.c, tmpfs_data.c, tmpfs_xattr.c. */
#ifndef _LKL_TMPFS_H
#define _LKL_TMPFS_H

#include <linux/fs.h>
#include <linux/xattr.h>

/* A file system. A limit of 0 means none. */
struct lkl_tmpfs {
	unsigned long pages, used_pages;
	unsigned long inodes, used_inodes;	/* a further name of a file counts as an inode */
	unsigned long xattr_bytes;
	umode_t mode;				/* of the root */
	kuid_t uid;
	kgid_t gid;
};

struct lkl_tmpfs_inode {
	struct inode inode;
	struct simple_xattrs xattrs;
	unsigned long xattr_bytes;
};

static inline struct lkl_tmpfs *lkl_tmpfs_of(const struct inode *inode)
{
	return inode->i_sb->s_fs_info;
}

static inline struct lkl_tmpfs_inode *lkl_tmpfs_info(struct inode *inode)
{
	return container_of(inode, struct lkl_tmpfs_inode, inode);
}

/*
 * tmpfs.c: the number of pages that the file system may still use. Its limit, and the
 * memory that must remain for the program and the kernel, allow so many.
 */
unsigned long lkl_tmpfs_room(const struct lkl_tmpfs *fs);
/* Counts an inode or a further name. Returns false if there is no room for it. */
bool lkl_tmpfs_take_inode(struct lkl_tmpfs *fs);
void lkl_tmpfs_put_inode(struct lkl_tmpfs *fs);
/* Opens a new file without a name, which only the memory limits. */
struct file *lkl_tmpfs_open_unnamed(const char *name);

/* The context of ramfs. The linker adds the prefix. */
int __real_ramfs_init_fs_context(struct fs_context *fc);

/* tmpfs_names.c: makes an inode. Returns NULL if there is no room for it. */
struct inode *lkl_tmpfs_new_inode(struct super_block *sb, struct inode *dir, umode_t mode,
				  dev_t dev);

/* tmpfs_data.c */
extern const struct address_space_operations lkl_tmpfs_aops;
extern const struct file_operations lkl_tmpfs_file_ops;
/* Also for files that are not regular. */
int lkl_tmpfs_setattr(struct user_namespace *ns, struct dentry *dentry, struct iattr *attr);

/* tmpfs_xattr.c */
extern const struct xattr_handler *lkl_tmpfs_xattr_handlers[];
ssize_t lkl_tmpfs_listxattr(struct dentry *dentry, char *buffer, size_t size);
void lkl_tmpfs_free_xattrs(struct inode *inode);

#endif
