// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings of files. A private mapping is a copy, which is read when the file is
 * mapped, because there are no page faults that could read it later. The memory of a
 * shared mapping is the page cache of the file: see share.c.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/slab.h>
#include <asm/arena.h>
#include <asm/lkl.h>
#include "filemap.h"

static bool lkl_filemap_is_shared(const struct lkl_mmap_args *args)
{
	return (args->flags & MAP_TYPE) != MAP_PRIVATE;
}

static int lkl_filemap_read(struct file *file, void *to, unsigned long len, loff_t pos)
{
	unsigned long done = 0;

	while (done < len) {
		ssize_t n = kernel_read(file, to + done, len - done, &pos);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += n;
	}
	return 0;
}

static bool lkl_filemap_is_dev_zero(struct file *file)
{
	struct inode *inode = file_inode(file);

	return S_ISCHR(inode->i_mode) && inode->i_rdev == MKDEV(1, 5);
}

static int lkl_filemap_check_shared(struct file *file, const struct lkl_mmap_args *args)
{
	bool validate = (args->flags & MAP_TYPE) == MAP_SHARED_VALIDATE;

	/* MAP_SYNC needs persistent memory. */
	if (validate && args->flags & ~LEGACY_MAP_MASK)
		return -EOPNOTSUPP;
	if (args->prot & PROT_WRITE && !(file->f_mode & FMODE_WRITE))
		return -EACCES;
	if (IS_APPEND(file_inode(file)) && file->f_mode & FMODE_WRITE)
		return -EACCES;
	return 0;
}

static int lkl_filemap_check(struct file *file, const struct lkl_mmap_args *args)
{
	unsigned long type = args->flags & MAP_TYPE;
	int err = 0;

	if (args->offset < 0 || args->offset > MAX_LFS_FILESIZE - (loff_t)args->len)
		return -EOVERFLOW;
	if (type == MAP_SHARED || type == MAP_SHARED_VALIDATE)
		err = lkl_filemap_check_shared(file, args);
	else if (type != MAP_PRIVATE)
		err = -EINVAL;
	if (err)
		return err;
	if (!(file->f_mode & FMODE_READ))
		return -EACCES;
	if (path_noexec(&file->f_path) && args->prot & PROT_EXEC)
		return -EPERM;
	if (!lkl_filemap_is_dev_zero(file) &&
	    (!S_ISREG(file_inode(file)->i_mode) || !file->f_op->mmap))
		return -ENODEV;
	return args->flags & MAP_GROWSDOWN ? -EINVAL : 0;
}

/*
 * The frame at which a shared mapping has to begin because the program has mapped some
 * of the pages before. 0 if it has not, ULONG_MAX if their places contradict.
 */
static unsigned long lkl_filemap_required(struct lkl_shared_file *f, pgoff_t index,
					  unsigned long n)
{
	unsigned long at, start = 0;
	struct lkl_shared_page *page;

	xa_for_each_range(&f->pages, at, page, index, index + n - 1) {
		unsigned long wanted = page->pfn - (at - index);

		if (page->pfn <= at - index || (start && start != wanted))
			return ULONG_MAX;
		start = wanted;
	}
	return start;
}

/* Whether all shared pages of a range of memory belong to this place of the file. */
static bool lkl_filemap_fits(struct lkl_shared_file *f, pgoff_t index, unsigned long first,
			     unsigned long n)
{
	struct lkl_shared_page *page;
	unsigned long at;

	xa_for_each_range(&lkl_shared_pages, at, page, first, first + n - 1)
		if (page->file != f || page->index != index + (at - first))
			return false;
	return true;
}

/* Frees those pages of a range that are not shared. */
static void lkl_filemap_unclaim(unsigned long first, unsigned long end)
{
	unsigned long next;

	for (; first < end; first = next + 1) {
		next = lkl_shared_next(first, end);
		if (next > first)
			lkl_arena_free(first, next - first);
	}
}

/* Maps those pages of a range that are not shared. */
static bool lkl_filemap_claim(unsigned long first, unsigned long n, bool exclusive)
{
	unsigned long at, next, end = first + n;

	for (at = first; at < end; at = next + 1) {
		next = lkl_shared_next(at, end);
		if (next > at && !lkl_arena_claim(at, next - at, exclusive)) {
			lkl_filemap_unclaim(first, at);
			return false;
		}
	}
	return true;
}

/* Evicts shared pages of other files from the place that MAP_FIXED names. */
static int lkl_filemap_clear(struct lkl_shared_file *f, pgoff_t index, unsigned long first,
			     unsigned long n)
{
	return lkl_filemap_fits(f, index, first, n) ? 0 : lkl_shared_evict_locked(first, first + n);
}

/*
 * Whether there is memory for the new pages of a mapping, and for the kernel's part of
 * them: struct lkl_shared_page, and nodes of the three trees that contain the page.
 */
static bool lkl_filemap_has_memory(struct lkl_shared_file *f, const struct lkl_mmap_args *args)
{
	pgoff_t index = args->offset >> PAGE_SHIFT;
	unsigned long n = lkl_pages(args->len), at, needed = n;
	struct lkl_shared_page *page;

	xa_for_each_range(&f->pages, at, page, index, index + n - 1)
		needed--;
	return lkl_arena_has_memory(needed + needed / 32);
}

/* Reserves the memory of a shared mapping. Returns its first frame or an error number. */
static long lkl_filemap_place(struct lkl_shared_file *f, const struct lkl_mmap_args *args)
{
	bool fixed = args->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
	bool exclusive = !fixed || args->flags & MAP_FIXED_NOREPLACE;
	unsigned long first = args->addr >> PAGE_SHIFT, n = lkl_pages(args->len), required;
	pgoff_t index = args->offset >> PAGE_SHIFT;

	if (!lkl_filemap_has_memory(f, args))
		return -ENOMEM;
	required = lkl_filemap_required(f, index, n);
	if (required == ULONG_MAX)
		return -ENOMEM;
	if (!fixed && !required) {
		first = lkl_arena_alloc(n);
		return first ? (long)first : -ENOMEM;
	}
	if (fixed && args->addr & ~PAGE_MASK)
		return -EINVAL;
	if (args->flags & MAP_FIXED_NOREPLACE && lkl_arena_overlaps(first, n))
		return -EEXIST;
	if (!fixed)
		first = required;
	if (required && required != first)
		return -ENOMEM;
	if (!exclusive && lkl_filemap_clear(f, index, first, n))
		return -ENOMEM;
	if (!lkl_filemap_fits(f, index, first, n) || !lkl_filemap_claim(first, n, exclusive))
		return -ENOMEM;
	return first;
}

static struct lkl_shared_page *lkl_filemap_new_page(struct lkl_shared_file *f, pgoff_t index,
						    unsigned long pfn)
{
	struct lkl_shared_page *page = kzalloc(sizeof(*page), GFP_KERNEL);

	if (!page)
		return NULL;
	page->file = f;
	page->pfn = pfn;
	page->index = index;
	page->fresh = true;
	if (xa_err(xa_store(&f->pages, index, page, GFP_KERNEL)))
		goto free;
	if (xa_err(xa_store(&lkl_shared_pages, pfn, page, GFP_KERNEL)))
		goto erase;
	xa_set_mark(&lkl_shared_pages, pfn, LKL_SHARED_LOST);
	return page;

erase:
	xa_erase(&f->pages, index);
free:
	kfree(page);
	return NULL;
}

/* Adds a user to each page of the mapping. Reads the pages that are new. */
static int lkl_filemap_enter(struct lkl_shared_file *f, const struct lkl_mmap_args *args,
			     unsigned long first)
{
	unsigned long n = lkl_pages(args->len), i;
	pgoff_t index = args->offset >> PAGE_SHIFT;
	struct lkl_shared_page *page;
	int err;

	for (i = 0; i < n; i++) {
		page = xa_load(&lkl_shared_pages, first + i);
		if (!page)
			page = lkl_filemap_new_page(f, index + i, first + i);
		if (!page) {
			lkl_filemap_unclaim(first + i, first + n);
			lkl_shared_munmap_locked(first, first + i);
			return -ENOMEM;
		}
		page->users++;
	}
	err = lkl_shared_refill(first, first + n);
	if (err)
		lkl_shared_munmap_locked(first, first + n);
	return err;
}

/*
 * The pages have a user more. MAP_FIXED replaces a mapping of the same pages, if there
 * was one.
 */
static void lkl_filemap_finish(const struct lkl_mmap_args *args, unsigned long first)
{
	unsigned long last = first + lkl_pages(args->len) - 1, at;
	struct lkl_shared_page *page;

	xa_for_each_range(&lkl_shared_pages, at, page, first, last) {
		if (args->prot & PROT_WRITE)
			lkl_shared_make_writable(page);
		if (args->flags & MAP_FIXED && page->users > 1)
			page->users--;
	}
}

static long lkl_filemap_map(struct lkl_shared_file *f, const struct lkl_mmap_args *args)
{
	long first = lkl_filemap_place(f, args);
	int err;

	if (first < 0)
		return first;
	err = lkl_filemap_enter(f, args, first);
	if (err)
		return err;
	lkl_filemap_finish(args, first);
	lkl_vma_share(first, lkl_pages(args->len), f->vma->vm_file, args->offset >> PAGE_SHIFT);
	return first << PAGE_SHIFT;
}

static long lkl_filemap_mmap_shared(struct file *file, const struct lkl_mmap_args *args)
{
	struct lkl_shared_file *f;
	long start;

	start = lkl_tmpfs_check_room(file->f_mapping, args->offset >> PAGE_SHIFT,
				     lkl_pages(args->len));
	if (start)
		return start;
	mutex_lock(&lkl_shared_lock);
	f = lkl_shared_file_get(file);
	if (IS_ERR(f)) {
		start = PTR_ERR(f);
	} else {
		/* MAP_FIXED may unmap the last page that the file had so far. */
		f->pinned = true;
		start = lkl_filemap_map(f, args);
		f->pinned = false;
		lkl_shared_file_put(f);
	}
	mutex_unlock(&lkl_shared_lock);
	return start;
}

long lkl_filemap_mmap(struct file *file, const struct lkl_mmap_args *args)
{
	long start, err;

	err = lkl_filemap_check(file, args);
	if (err)
		return err;
	if (lkl_filemap_is_shared(args) && !lkl_filemap_is_dev_zero(file))
		return lkl_filemap_mmap_shared(file, args);
	start = lkl_mmap_place(args);
	if (start < 0 || lkl_filemap_is_dev_zero(file))
		return start;
	err = lkl_filemap_read(file, (void *)start, args->len, args->offset);
	if (err) {
		lkl_arena_free(start >> PAGE_SHIFT, lkl_pages(args->len));
		return err;
	}
	return start;
}
