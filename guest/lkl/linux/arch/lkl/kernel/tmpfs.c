// SPDX-License-Identifier: GPL-2.0-only
/*
 * tmpfs with limits. Without an MMU, Linux has no shmem, and its tmpfs is ramfs, which
 * has no limit, extended attributes, holes or fallocate(). This file system takes its
 * place, for /tmp, /run, /dev/shm, /dev, mounts of jobs and memfd_create().
 *
 * Options: size in bytes, with a suffix (k, m, g) or in percent of the memory (default
 * 50%), or nr_blocks in pages; nr_inodes (default as many as half of the pages of the
 * memory); mode, uid and gid of the root directory. 0 is no limit.
 *
 * The limits of several mounts may add up to more than the memory. Therefore all of
 * them leave a part of the memory to the program and the kernel.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/statfs.h>
#include "tmpfs.h"

/* The part of the memory that files do not use: 1/16. */
#define LKL_TMPFS_RESERVE 16

/* The dentries of so many inodes take a page, with names of average length. */
#define LKL_TMPFS_DENTRIES 16

static struct kmem_cache *lkl_tmpfs_inode_cache;
static struct vfsmount *lkl_tmpfs_mount;	/* for files without names */

/* The inodes of all file systems of this type. */
static unsigned long lkl_tmpfs_all_inodes;

/*
 * The memory that files may still use, in pages. The slabs of dentries count as
 * available, but those of this file system cannot be reclaimed.
 */
static unsigned long lkl_tmpfs_memory(void)
{
	long n = si_mem_available() - lkl_tmpfs_all_inodes / LKL_TMPFS_DENTRIES -
		 totalram_pages() / LKL_TMPFS_RESERVE;

	return max(n, 0L);
}

unsigned long lkl_tmpfs_room(const struct lkl_tmpfs *fs)
{
	unsigned long used = fs->used_pages + DIV_ROUND_UP(fs->xattr_bytes, PAGE_SIZE);
	unsigned long memory = lkl_tmpfs_memory();

	if (!fs->pages)
		return memory;
	return used < fs->pages ? min(memory, fs->pages - used) : 0;
}

bool lkl_tmpfs_take_inode(struct lkl_tmpfs *fs)
{
	if ((fs->inodes && fs->used_inodes >= fs->inodes) || !lkl_tmpfs_memory())
		return false;
	fs->used_inodes++;
	lkl_tmpfs_all_inodes++;
	return true;
}

void lkl_tmpfs_put_inode(struct lkl_tmpfs *fs)
{
	fs->used_inodes--;
	lkl_tmpfs_all_inodes--;
}

struct file *lkl_tmpfs_open_unnamed(const char *name)
{
	struct inode *inode = lkl_tmpfs_new_inode(lkl_tmpfs_mount->mnt_sb, NULL, S_IFREG | 0777, 0);
	struct file *file;

	if (!inode)
		return ERR_PTR(-ENOSPC);
	clear_nlink(inode);
	file = alloc_file_pseudo(inode, lkl_tmpfs_mount, name, O_RDWR, &lkl_tmpfs_file_ops);
	if (IS_ERR(file))
		iput(inode);
	return file;
}

static struct inode *lkl_tmpfs_alloc_inode(struct super_block *sb)
{
	struct lkl_tmpfs_inode *info = alloc_inode_sb(sb, lkl_tmpfs_inode_cache, GFP_KERNEL);

	if (!info)
		return NULL;
	simple_xattrs_init(&info->xattrs);
	info->xattr_bytes = 0;
	return &info->inode;
}

static void lkl_tmpfs_evict_inode(struct inode *inode)
{
	truncate_inode_pages_final(inode->i_mapping);
	clear_inode(inode);
	lkl_tmpfs_free_xattrs(inode);
	lkl_tmpfs_put_inode(lkl_tmpfs_of(inode));
}

static void lkl_tmpfs_free_inode(struct inode *inode)
{
	if (S_ISLNK(inode->i_mode))
		kfree(inode->i_link);
	kmem_cache_free(lkl_tmpfs_inode_cache, lkl_tmpfs_info(inode));
}

static int lkl_tmpfs_statfs(struct dentry *dentry, struct kstatfs *st)
{
	struct lkl_tmpfs *fs = dentry->d_sb->s_fs_info;

	st->f_type = TMPFS_MAGIC;
	st->f_bsize = PAGE_SIZE;
	st->f_namelen = NAME_MAX;
	st->f_fsid = u64_to_fsid(huge_encode_dev(dentry->d_sb->s_dev));
	if (fs->pages) {
		st->f_blocks = fs->pages;
		st->f_bfree = fs->pages - min(fs->pages, fs->used_pages);
		st->f_bavail = lkl_tmpfs_room(fs);
	}
	if (fs->inodes) {
		st->f_files = fs->inodes;
		st->f_ffree = fs->inodes - min(fs->inodes, fs->used_inodes);
	}
	return 0;
}

static int lkl_tmpfs_show_options(struct seq_file *m, struct dentry *root)
{
	struct lkl_tmpfs *fs = root->d_sb->s_fs_info;

	seq_printf(m, ",size=%luk,nr_inodes=%lu,mode=%03o", fs->pages << (PAGE_SHIFT - 10),
		   fs->inodes, fs->mode);
	if (!uid_eq(fs->uid, GLOBAL_ROOT_UID))
		seq_printf(m, ",uid=%u", from_kuid_munged(&init_user_ns, fs->uid));
	if (!gid_eq(fs->gid, GLOBAL_ROOT_GID))
		seq_printf(m, ",gid=%u", from_kgid_munged(&init_user_ns, fs->gid));
	return 0;
}

static const struct super_operations lkl_tmpfs_super_ops = {
	.alloc_inode = lkl_tmpfs_alloc_inode,
	.free_inode = lkl_tmpfs_free_inode,
	.evict_inode = lkl_tmpfs_evict_inode,
	.statfs = lkl_tmpfs_statfs,
	.drop_inode = generic_delete_inode,
	.show_options = lkl_tmpfs_show_options,
};

enum {
	LKL_TMPFS_SIZE, LKL_TMPFS_BLOCKS, LKL_TMPFS_INODES, LKL_TMPFS_MODE, LKL_TMPFS_UID,
	LKL_TMPFS_GID
};

static const struct fs_parameter_spec lkl_tmpfs_parameters[] = {
	fsparam_string("size", LKL_TMPFS_SIZE),
	fsparam_string("nr_blocks", LKL_TMPFS_BLOCKS),
	fsparam_string("nr_inodes", LKL_TMPFS_INODES),
	fsparam_u32oct("mode", LKL_TMPFS_MODE),
	fsparam_u32("uid", LKL_TMPFS_UID),
	fsparam_u32("gid", LKL_TMPFS_GID),
	{}
};

static int lkl_tmpfs_parse_size(struct lkl_tmpfs *fs, char *text)
{
	unsigned long long size = memparse(text, &text);

	if (*text == '%' && size <= 100) {
		size = size * totalram_pages() / 100 << PAGE_SHIFT;
		text++;
	}
	if (*text || size > LLONG_MAX - PAGE_SIZE)
		return -EINVAL;
	fs->pages = DIV_ROUND_UP(size, PAGE_SIZE);
	return 0;
}

static int lkl_tmpfs_parse_number(unsigned long *n, char *text)
{
	unsigned long long got = memparse(text, &text);

	if (*text || got > LONG_MAX >> PAGE_SHIFT)
		return -EINVAL;
	*n = got;
	return 0;
}

static int lkl_tmpfs_parse(struct fs_context *fc, struct fs_parameter *param)
{
	struct lkl_tmpfs *fs = fc->s_fs_info;
	struct fs_parse_result result;

	switch (fs_parse(fc, lkl_tmpfs_parameters, param, &result)) {
	case LKL_TMPFS_SIZE:
		return lkl_tmpfs_parse_size(fs, param->string);
	case LKL_TMPFS_BLOCKS:
		return lkl_tmpfs_parse_number(&fs->pages, param->string);
	case LKL_TMPFS_INODES:
		return lkl_tmpfs_parse_number(&fs->inodes, param->string);
	case LKL_TMPFS_MODE:
		fs->mode = result.uint_32 & 07777;
		return 0;
	case LKL_TMPFS_UID:
		fs->uid = make_kuid(&init_user_ns, result.uint_32);
		return uid_valid(fs->uid) ? 0 : -EINVAL;
	case LKL_TMPFS_GID:
		fs->gid = make_kgid(&init_user_ns, result.uint_32);
		return gid_valid(fs->gid) ? 0 : -EINVAL;
	case -ENOPARAM:
		return -ENOPARAM;	/* the source, or unknown */
	default:
		return -EINVAL;
	}
}

static int lkl_tmpfs_fill_super(struct super_block *sb, struct fs_context *fc)
{
	struct lkl_tmpfs *fs = sb->s_fs_info;
	struct inode *root;

	sb->s_maxbytes = MAX_LFS_FILESIZE;
	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_magic = TMPFS_MAGIC;
	sb->s_op = &lkl_tmpfs_super_ops;
	sb->s_xattr = lkl_tmpfs_xattr_handlers;
	sb->s_time_gran = 1;
	sb->s_flags |= SB_POSIXACL;
	if (sb->s_flags & SB_KERNMOUNT) {
		fs->pages = 0;
		fs->inodes = 0;
	}
	root = lkl_tmpfs_new_inode(sb, NULL, S_IFDIR | fs->mode, 0);
	if (!root)
		return -ENOMEM;
	root->i_uid = fs->uid;
	root->i_gid = fs->gid;
	sb->s_root = d_make_root(root);
	return sb->s_root ? 0 : -ENOMEM;
}

static int lkl_tmpfs_get_tree(struct fs_context *fc)
{
	return get_tree_nodev(fc, lkl_tmpfs_fill_super);
}

/* mount -o remount: new limits must allow the present use. */
static int lkl_tmpfs_reconfigure(struct fs_context *fc)
{
	struct lkl_tmpfs *fs = fc->root->d_sb->s_fs_info, *wanted = fc->s_fs_info;

	if ((wanted->pages && wanted->pages < fs->used_pages) ||
	    (wanted->inodes && wanted->inodes < fs->used_inodes))
		return invalfc(fc, "The limit is lower than the present use");
	fs->pages = wanted->pages;
	fs->inodes = wanted->inodes;
	return 0;
}

static void lkl_tmpfs_free_context(struct fs_context *fc)
{
	kfree(fc->s_fs_info);
}

static const struct fs_context_operations lkl_tmpfs_context_ops = {
	.free = lkl_tmpfs_free_context,
	.parse_param = lkl_tmpfs_parse,
	.get_tree = lkl_tmpfs_get_tree,
	.reconfigure = lkl_tmpfs_reconfigure,
};

static void lkl_tmpfs_init_inode(void *info)
{
	inode_init_once(&((struct lkl_tmpfs_inode *)info)->inode);
}

static int lkl_tmpfs_init_context(struct fs_context *fc)
{
	struct lkl_tmpfs *fs;

	if (!lkl_tmpfs_inode_cache)
		lkl_tmpfs_inode_cache = kmem_cache_create("lkl_tmpfs_inode",
							  sizeof(struct lkl_tmpfs_inode), 0, 0,
							  lkl_tmpfs_init_inode);
	fs = lkl_tmpfs_inode_cache ? kzalloc(sizeof(*fs), GFP_KERNEL) : NULL;
	if (!fs)
		return -ENOMEM;
	if (fc->purpose == FS_CONTEXT_FOR_RECONFIGURE) {
		*fs = *(struct lkl_tmpfs *)fc->root->d_sb->s_fs_info;
	} else {
		fs->pages = totalram_pages() / 2;
		fs->inodes = fs->pages;
		fs->mode = 01777;
	}
	fc->s_fs_info = fs;
	fc->ops = &lkl_tmpfs_context_ops;
	return 0;
}

static void lkl_tmpfs_kill(struct super_block *sb)
{
	struct lkl_tmpfs *fs = sb->s_fs_info;

	kill_litter_super(sb);
	kfree(fs);
}

static struct file_system_type lkl_tmpfs_type = {
	.name = "tmpfs",
	.init_fs_context = lkl_tmpfs_init_context,
	.parameters = lkl_tmpfs_parameters,
	.kill_sb = lkl_tmpfs_kill,
};

/* devtmpfs is a ramfs too. The linker passes its context to this function: see Makefile. */
int __wrap_ramfs_init_fs_context(struct fs_context *fc)
{
	if (!strcmp(fc->fs_type->name, "devtmpfs"))
		return lkl_tmpfs_init_context(fc);
	return __real_ramfs_init_fs_context(fc);
}

static int __init lkl_tmpfs_init(void)
{
	struct file_system_type *ramfs = get_fs_type("tmpfs");
	int err;

	if (ramfs)
		unregister_filesystem(ramfs);
	err = register_filesystem(&lkl_tmpfs_type);
	if (err)
		return err;
	lkl_tmpfs_mount = kern_mount(&lkl_tmpfs_type);
	return PTR_ERR_OR_ZERO(lkl_tmpfs_mount);
}
fs_initcall(lkl_tmpfs_init);
