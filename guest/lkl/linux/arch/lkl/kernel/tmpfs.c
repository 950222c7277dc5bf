// SPDX-License-Identifier: GPL-2.0-only
/*
 * tmpfs with a limit. Without an MMU, Linux has no shmem, and its tmpfs is ramfs, which
 * ignores the option size. This file system takes its place. A page counts as used
 * from its first write until it leaves the page cache; a hole takes no page.
 *
 * Options: size in bytes, with a suffix (k, m, g) or in percent of the memory (default
 * 50%); mode, uid and gid of the root directory.
 */
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/statfs.h>
#include <linux/uio.h>
#include <asm/lkl.h>
#include "filemap.h"

struct lkl_tmpfs {
	unsigned long pages, used;
	umode_t mode;
	kuid_t uid;
	kgid_t gid;
};

static struct inode *lkl_tmpfs_inode(struct super_block *sb, struct inode *dir, umode_t mode,
				     dev_t dev);

static int lkl_tmpfs_mknod(struct user_namespace *ns, struct inode *dir, struct dentry *dentry,
			   umode_t mode, dev_t dev)
{
	struct inode *inode = lkl_tmpfs_inode(dir->i_sb, dir, mode, dev);

	if (!inode)
		return -ENOSPC;
	d_instantiate(dentry, inode);
	dget(dentry);		/* Only an unlink removes it from memory. */
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
	struct inode *inode = lkl_tmpfs_inode(dir->i_sb, dir, mode, 0);

	if (!inode)
		return -ENOSPC;
	d_tmpfile(file, inode);
	return finish_open_simple(file, 0);
}

static const struct inode_operations lkl_tmpfs_dir_ops = {
	.create = lkl_tmpfs_create,
	.lookup = simple_lookup,
	.link = simple_link,
	.unlink = simple_unlink,
	.symlink = lkl_tmpfs_symlink,
	.mkdir = lkl_tmpfs_mkdir,
	.rmdir = simple_rmdir,
	.mknod = lkl_tmpfs_mknod,
	.rename = simple_rename,
	.tmpfile = lkl_tmpfs_tmpfile,
};

/* A page of this file system refers to it in private, without PG_private. */
void lkl_tmpfs_free_folio(struct folio *folio)
{
	struct lkl_tmpfs *fs = folio->private;

	lkl_shared_lost(folio);
	folio->private = NULL;
	if (fs)
		fs->used--;
}

static int lkl_tmpfs_write_begin(struct file *file, struct address_space *mapping, loff_t pos,
				 unsigned int len, struct page **page, void **data)
{
	struct lkl_tmpfs *fs = mapping->host->i_sb->s_fs_info;
	int err;

	if (fs->used >= fs->pages && !filemap_range_has_page(mapping, pos, pos))
		return -ENOSPC;
	err = simple_write_begin(file, mapping, pos, len, page, data);
	if (!err && !page_private(*page)) {
		set_page_private(*page, (unsigned long)fs);
		fs->used++;
	}
	return err;
}

/* That of ramfs has no name. */
static int lkl_tmpfs_write_end(struct file *file, struct address_space *mapping, loff_t pos,
			       unsigned int len, unsigned int copied, struct page *page, void *data)
{
	return ram_aops.write_end(file, mapping, pos, len, copied, page, data);
}

/* Called for holes that are mapped: they take a page, as with an MMU. */
static int lkl_tmpfs_read_folio(struct file *file, struct folio *folio)
{
	struct lkl_tmpfs *fs = folio->mapping->host->i_sb->s_fs_info;
	int err = 0;

	if (fs->used >= fs->pages) {
		err = -ENOSPC;
	} else {
		fs->used++;
		folio->private = fs;
		clear_highpage(&folio->page);
		folio_mark_uptodate(folio);
		folio_mark_dirty(folio);
	}
	folio_unlock(folio);
	return err;
}

static const struct address_space_operations lkl_tmpfs_aops = {
	.read_folio = lkl_tmpfs_read_folio,
	.write_begin = lkl_tmpfs_write_begin,
	.write_end = lkl_tmpfs_write_end,
	.dirty_folio = noop_dirty_folio,
	.free_folio = lkl_tmpfs_free_folio,
};

/* Copies up to the end of a page, or zeros for a hole. Returns the number of bytes. */
static size_t lkl_tmpfs_read_page(struct address_space *mapping, loff_t pos, size_t size,
				  struct iov_iter *to)
{
	size_t offset = offset_in_page(pos), n = min(size, PAGE_SIZE - offset), done;
	struct folio *folio = filemap_get_folio(mapping, pos >> PAGE_SHIFT);

	if (!folio)
		return iov_iter_zero(n, to);
	done = copy_folio_to_iter(folio, offset, n, to);
	folio_put(folio);
	return done;
}

static ssize_t lkl_tmpfs_read(struct kiocb *iocb, struct iov_iter *to)
{
	struct address_space *mapping = iocb->ki_filp->f_mapping;
	ssize_t done = 0;

	while (iov_iter_count(to)) {
		loff_t rest = i_size_read(mapping->host) - iocb->ki_pos;
		size_t n;

		if (rest <= 0)
			break;
		n = lkl_tmpfs_read_page(mapping, iocb->ki_pos,
					min_t(u64, rest, iov_iter_count(to)), to);
		if (!n)
			return done ?: -EFAULT;
		iocb->ki_pos += n;
		done += n;
		cond_resched();
	}
	file_accessed(iocb->ki_filp);
	return done;
}

/* Called for shared mappings, by shared_file.c. The pages need no operations. */
static int lkl_tmpfs_mmap(struct file *file, struct vm_area_struct *vma)
{
	file_accessed(file);
	return 0;
}

static const struct file_operations lkl_tmpfs_file_ops = {
	.read_iter = lkl_tmpfs_read,
	.write_iter = generic_file_write_iter,
	.mmap = lkl_tmpfs_mmap,
	.fsync = noop_fsync,
	.splice_read = generic_file_splice_read,
	.splice_write = iter_file_splice_write,
	.llseek = generic_file_llseek,
};

static const struct inode_operations lkl_tmpfs_file_inode_ops = {
	.setattr = simple_setattr,
	.getattr = simple_getattr,
};

static struct inode *lkl_tmpfs_inode(struct super_block *sb, struct inode *dir, umode_t mode,
				     dev_t dev)
{
	struct inode *inode = new_inode(sb);

	if (!inode)
		return NULL;
	inode->i_ino = get_next_ino();
	inode_init_owner(&init_user_ns, inode, dir, mode);
	mapping_set_gfp_mask(inode->i_mapping, GFP_HIGHUSER);
	mapping_set_unevictable(inode->i_mapping);
	inode->i_mtime = current_time(inode);
	inode->i_atime = inode->i_mtime;
	inode->i_ctime = inode->i_mtime;
	switch (mode & S_IFMT) {
	case S_IFREG:
		inode->i_mapping->a_ops = &lkl_tmpfs_aops;
		inode->i_op = &lkl_tmpfs_file_inode_ops;
		inode->i_fop = &lkl_tmpfs_file_ops;
		break;
	case S_IFDIR:
		inode->i_op = &lkl_tmpfs_dir_ops;
		inode->i_fop = &simple_dir_operations;
		inc_nlink(inode);
		break;
	case S_IFLNK:
		inode->i_op = &simple_symlink_inode_operations;
		break;
	default:
		init_special_inode(inode, mode, dev);
	}
	return inode;
}

static void lkl_tmpfs_free_inode(struct inode *inode)
{
	if (S_ISLNK(inode->i_mode))
		kfree(inode->i_link);
	free_inode_nonrcu(inode);
}

static int lkl_tmpfs_statfs(struct dentry *dentry, struct kstatfs *st)
{
	struct lkl_tmpfs *fs = dentry->d_sb->s_fs_info;

	st->f_type = TMPFS_MAGIC;
	st->f_bsize = PAGE_SIZE;
	st->f_blocks = fs->pages;
	st->f_bfree = fs->pages - fs->used;
	st->f_bavail = st->f_bfree;
	st->f_namelen = NAME_MAX;
	return 0;
}

static int lkl_tmpfs_show_options(struct seq_file *m, struct dentry *root)
{
	struct lkl_tmpfs *fs = root->d_sb->s_fs_info;

	seq_printf(m, ",size=%luk,mode=%o", fs->pages << (PAGE_SHIFT - 10), fs->mode);
	return 0;
}

static const struct super_operations lkl_tmpfs_super_ops = {
	.free_inode = lkl_tmpfs_free_inode,
	.statfs = lkl_tmpfs_statfs,
	.drop_inode = generic_delete_inode,
	.show_options = lkl_tmpfs_show_options,
};

enum { LKL_TMPFS_SIZE, LKL_TMPFS_MODE, LKL_TMPFS_UID, LKL_TMPFS_GID };

static const struct fs_parameter_spec lkl_tmpfs_parameters[] = {
	fsparam_string("size", LKL_TMPFS_SIZE),
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

static int lkl_tmpfs_parse(struct fs_context *fc, struct fs_parameter *param)
{
	struct lkl_tmpfs *fs = fc->s_fs_info;
	struct fs_parse_result result;

	switch (fs_parse(fc, lkl_tmpfs_parameters, param, &result)) {
	case LKL_TMPFS_SIZE:
		return lkl_tmpfs_parse_size(fs, param->string);
	case LKL_TMPFS_MODE:
		fs->mode = result.uint_32 & 07777;
		return 0;
	case LKL_TMPFS_UID:
		fs->uid = make_kuid(&init_user_ns, result.uint_32);
		return 0;
	case LKL_TMPFS_GID:
		fs->gid = make_kgid(&init_user_ns, result.uint_32);
		return 0;
	case -ENOPARAM:
		return -ENOPARAM;	/* the source, or unknown */
	default:
		return -EINVAL;
	}
}

static int lkl_tmpfs_fill(struct super_block *sb, struct fs_context *fc)
{
	struct lkl_tmpfs *fs = sb->s_fs_info;
	struct inode *root;

	sb->s_maxbytes = MAX_LFS_FILESIZE;
	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_magic = TMPFS_MAGIC;
	sb->s_op = &lkl_tmpfs_super_ops;
	sb->s_time_gran = 1;
	root = lkl_tmpfs_inode(sb, NULL, S_IFDIR | fs->mode, 0);
	if (!root)
		return -ENOMEM;
	root->i_uid = fs->uid;
	root->i_gid = fs->gid;
	sb->s_root = d_make_root(root);
	return sb->s_root ? 0 : -ENOMEM;
}

static int lkl_tmpfs_get_tree(struct fs_context *fc)
{
	return get_tree_nodev(fc, lkl_tmpfs_fill);
}

static void lkl_tmpfs_free_context(struct fs_context *fc)
{
	kfree(fc->s_fs_info);
}

static const struct fs_context_operations lkl_tmpfs_context_ops = {
	.free = lkl_tmpfs_free_context,
	.parse_param = lkl_tmpfs_parse,
	.get_tree = lkl_tmpfs_get_tree,
};

static int lkl_tmpfs_init_context(struct fs_context *fc)
{
	struct lkl_tmpfs *fs = kzalloc(sizeof(*fs), GFP_KERNEL);

	if (!fs)
		return -ENOMEM;
	fs->pages = totalram_pages() / 2;
	fs->mode = 01777;
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

static int __init lkl_tmpfs_init(void)
{
	struct file_system_type *ramfs = get_fs_type("tmpfs");

	if (ramfs)
		unregister_filesystem(ramfs);
	return register_filesystem(&lkl_tmpfs_type);
}
fs_initcall(lkl_tmpfs_init);
