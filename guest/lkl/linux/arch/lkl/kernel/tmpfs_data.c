// SPDX-License-Identifier: GPL-2.0-only
/*
 * tmpfs: the content of files, which is in the page cache only. A page counts as used
 * from the moment that it contains data until it leaves the page cache; a hole takes
 * no page. A mapped hole does, because there are no page faults: see share.c.
 */
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/posix_acl.h>
#include <linux/uio.h>
#include "filemap.h"
#include "tmpfs.h"

static void lkl_tmpfs_add_pages(struct inode *inode, long n)
{
	lkl_tmpfs_of(inode)->used_pages += n;
	inode->i_blocks += n * (1L << (PAGE_SHIFT - 9));
	mod_node_page_state(NODE_DATA(0), NR_SHMEM, n);
}

/* A page that is counted refers to its inode in private, without PG_private. */
static void lkl_tmpfs_count(struct folio *folio, struct inode *inode)
{
	if (folio->private)
		return;
	folio->private = inode;
	lkl_tmpfs_add_pages(inode, 1);
}

void lkl_tmpfs_free_folio(struct folio *folio)
{
	struct inode *inode = folio->private;

	lkl_shared_lost(folio);
	folio->private = NULL;
	if (inode)
		lkl_tmpfs_add_pages(inode, -1);
}

int lkl_tmpfs_check_room(struct address_space *mapping, pgoff_t index, unsigned long n)
{
	struct lkl_tmpfs *fs = lkl_tmpfs_of(mapping->host);
	unsigned long at, needed = n;
	void *entry;

	if (!lkl_is_tmpfs(mapping) || !fs->pages)
		return 0;
	xa_for_each_range(&mapping->i_pages, at, entry, index, index + n - 1)
		needed -= !xa_is_value(entry);
	return fs->used_pages + needed > fs->pages ? -ENOSPC : 0;
}

void lkl_tmpfs_fill(struct folio *folio, bool clean)
{
	if (!clean)
		clear_highpage(&folio->page);
	lkl_tmpfs_count(folio, folio->mapping->host);
	folio_mark_uptodate(folio);
	folio_mark_dirty(folio);
	folio_unlock(folio);
}

static int lkl_tmpfs_read_folio(struct file *file, struct folio *folio)
{
	lkl_tmpfs_fill(folio, false);
	return 0;
}

static int lkl_tmpfs_write_begin(struct file *file, struct address_space *mapping, loff_t pos,
				 unsigned int len, struct page **page, void **data)
{
	struct inode *inode = mapping->host;
	int err;

	if (!filemap_range_has_page(mapping, pos, pos) && !lkl_tmpfs_room(lkl_tmpfs_of(inode)))
		return -ENOSPC;
	err = simple_write_begin(file, mapping, pos, len, page, data);
	if (!err)
		lkl_tmpfs_count(page_folio(*page), inode);
	return err == -ENOMEM ? -ENOSPC : err;
}

/* That of ramfs has no name. */
static int lkl_tmpfs_write_end(struct file *file, struct address_space *mapping, loff_t pos,
			       unsigned int len, unsigned int copied, struct page *page, void *data)
{
	return ram_aops.write_end(file, mapping, pos, len, copied, page, data);
}

const struct address_space_operations lkl_tmpfs_aops = {
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

/* O_DIRECT has no effect. */
static ssize_t lkl_tmpfs_write(struct kiocb *iocb, struct iov_iter *from)
{
	iocb->ki_flags &= ~IOCB_DIRECT;
	return generic_file_write_iter(iocb, from);
}

static int lkl_tmpfs_open(struct inode *inode, struct file *file)
{
	file->f_mode |= FMODE_CAN_ODIRECT;
	return generic_file_open(inode, file);
}

static loff_t lkl_tmpfs_llseek(struct file *file, loff_t offset, int whence)
{
	struct inode *inode = file_inode(file);

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return generic_file_llseek(file, offset, whence);
	if (offset < 0)
		return -ENXIO;
	inode_lock(inode);
	offset = mapping_seek_hole_data(inode->i_mapping, offset, inode->i_size, whence);
	if (offset >= 0)
		offset = vfs_setpos(file, offset, MAX_LFS_FILESIZE);
	inode_unlock(inode);
	return offset;
}

/* Called for shared mappings, by shared_file.c. The pages need no operations. */
static int lkl_tmpfs_mmap(struct file *file, struct vm_area_struct *vma)
{
	file_accessed(file);
	return 0;
}

/* Allocates a page unless the file has it. A new page is not marked up to date. */
static int lkl_tmpfs_allocate(struct inode *inode, pgoff_t index)
{
	struct page *page = find_lock_page(inode->i_mapping, index);

	if (!page && !lkl_tmpfs_room(lkl_tmpfs_of(inode)))
		return -ENOSPC;
	if (!page)
		page = grab_cache_page_write_begin(inode->i_mapping, index);
	if (!page)
		return -ENOSPC;
	if (!PageUptodate(page)) {
		clear_highpage(page);
		lkl_tmpfs_count(page_folio(page), inode);
		SetPageDirty(page);
	}
	unlock_page(page);
	put_page(page);
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/* Keeps the pages that lkl_tmpfs_allocate() has made, or removes them. */
static void lkl_tmpfs_finish_allocation(struct address_space *mapping, pgoff_t index, pgoff_t end,
					bool keep)
{
	for (; index < end; index++) {
		struct page *page = find_lock_page(mapping, index);

		if (!page)
			continue;
		if (!PageUptodate(page)) {
			if (keep)
				SetPageUptodate(page);
			else
				generic_error_remove_page(mapping, page);
		}
		unlock_page(page);
		put_page(page);
	}
}

static int lkl_tmpfs_extend(struct inode *inode, int mode, loff_t offset, loff_t len)
{
	pgoff_t index = offset >> PAGE_SHIFT, end = DIV_ROUND_UP(offset + len, PAGE_SIZE), at;
	struct lkl_tmpfs *fs = lkl_tmpfs_of(inode);
	int err = inode_newsize_ok(inode, offset + len);

	if (err)
		return err;
	/* Fails at once if the file can never have so many pages. */
	if (end - index > (fs->pages ?: totalram_pages()))
		return -ENOSPC;
	for (at = index; at < end && !err; at++)
		err = lkl_tmpfs_allocate(inode, at);
	lkl_tmpfs_finish_allocation(inode->i_mapping, index, at, !err);
	if (!err && !(mode & FALLOC_FL_KEEP_SIZE) && offset + len > inode->i_size)
		i_size_write(inode, offset + len);
	return err;
}

static long lkl_tmpfs_fallocate(struct file *file, int mode, loff_t offset, loff_t len)
{
	struct inode *inode = file_inode(file);
	int err = 0;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))
		return -EOPNOTSUPP;
	inode_lock(inode);
	if (mode & FALLOC_FL_PUNCH_HOLE)
		truncate_inode_pages_range(inode->i_mapping, offset, offset + len - 1);
	else
		err = lkl_tmpfs_extend(inode, mode, offset, len);
	if (!err)
		file_modified(file);
	inode_unlock(inode);
	return err;
}

int lkl_tmpfs_setattr(struct user_namespace *ns, struct dentry *dentry, struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	int err = setattr_prepare(ns, dentry, attr);

	if (err)
		return err;
	if (attr->ia_valid & ATTR_SIZE) {
		attr->ia_valid |= ATTR_MTIME | ATTR_CTIME;
		truncate_setsize(inode, attr->ia_size);
	}
	setattr_copy(ns, inode, attr);
	return attr->ia_valid & ATTR_MODE ? posix_acl_chmod(ns, inode, inode->i_mode) : 0;
}

const struct file_operations lkl_tmpfs_file_ops = {
	.open = lkl_tmpfs_open,
	.read_iter = lkl_tmpfs_read,
	.write_iter = lkl_tmpfs_write,
	.mmap = lkl_tmpfs_mmap,
	.fsync = noop_fsync,
	.splice_read = generic_file_splice_read,
	.splice_write = iter_file_splice_write,
	.llseek = lkl_tmpfs_llseek,
	.fallocate = lkl_tmpfs_fallocate,
};
