// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages of the arena in the page cache. A shared mapping of a file is contiguous
 * memory that is at the same time the file's page cache, so that read(), write(),
 * truncation and writeback act on the mapping.
 */
#include <linux/backing-dev.h>
#include <linux/blkdev.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/swap.h>
#include "cachepage.h"
#include "filemap.h"

/* The number of pages that are locked at a time. */
#define LKL_CACHE_BATCH 64U

/* How often writeback may get in the way of the replacement of a page. */
#define LKL_CACHE_RETRIES 100

static loff_t lkl_cache_pos(pgoff_t index)
{
	return (loff_t)index << PAGE_SHIFT;
}

/* Replaces a page of the page cache. -EAGAIN: @old has to be written first. */
static int lkl_cache_replace(struct page *old, struct page *new)
{
	if (mapping_can_writeback(old->mapping)) {
		if (PageDirty(old) || PageWriteback(old))
			return -EAGAIN;
		if (page_has_private(old) && !filemap_release_folio(page_folio(old), GFP_KERNEL))
			return -EAGAIN;
	} else {
		/* The file is in memory. tmpfs keeps its accounts in private. */
		set_page_private(new, page_private(old));
		set_page_private(old, 0);
		SetPageDirty(new);
	}
	if (PageUptodate(old)) {
		lkl_shared_load(new, old);
		SetPageUptodate(new);
	}
	replace_page_cache_page(old, new);
	return 0;
}

/*
 * Locks the page, and removes the traces of an earlier use. A reader that found the page
 * in the page cache before may still wait for the lock.
 */
static void lkl_cache_prepare(struct page *page)
{
	lock_page(page);
	page->flags &= ~PAGE_FLAGS_CHECK_AT_PREP | BIT(PG_locked) | BIT(PG_waiters);
	set_page_private(page, 0);
}

/* On success the page is in the page cache and locked. */
static int lkl_cache_insert(struct address_space *mapping, struct page *page, pgoff_t index)
{
	void *shadow = NULL;
	struct page *old;
	int err;

	lkl_cache_prepare(page);
	do {
		err = __filemap_add_folio(mapping, page_folio(page), index, GFP_KERNEL, &shadow);
		if (err != -EEXIST)
			break;
		old = find_lock_page(mapping, index);
		if (!old)
			continue;
		err = lkl_cache_replace(old, page);
		unlock_page(old);
		put_page(old);
	} while (err == -EEXIST);
	if (err)
		unlock_page(page);
	return err;
}

/* Starts to read locked pages, and unlocks each when it has been read. */
static void lkl_cache_readahead(struct file *file, struct page *first, unsigned int n)
{
	struct file_ra_state ra;
	struct blk_plug plug;
	struct folio *folio;
	unsigned int i;
	DEFINE_READAHEAD(ractl, file, &ra, file->f_mapping, first->index);

	file_ra_state_init(&ra, file->f_mapping);
	ractl._nr_pages = n;
	/* readahead_folio() drops a reference to each page. */
	for (i = 0; i < n; i++)
		get_page(first + i);
	blk_start_plug(&plug);
	file->f_mapping->a_ops->readahead(&ractl);
	while ((folio = readahead_folio(&ractl)))
		folio_unlock(folio);
	blk_finish_plug(&plug);
}

static int lkl_cache_wait(struct file *file, struct page *page)
{
	int err;

	wait_on_page_locked(page);
	if (PageUptodate(page))
		return 0;
	lock_page(page);
	/* The file may have been truncated meanwhile: see lkl_shared_lost(). */
	if (page->mapping != file->f_mapping || PageUptodate(page)) {
		unlock_page(page);
		return 0;
	}
	ClearPageError(page);
	err = file->f_mapping->a_ops->read_folio(file, page_folio(page));
	if (err)
		return err;
	wait_on_page_locked(page);
	return PageUptodate(page) || page->mapping != file->f_mapping ? 0 : -EIO;
}

/* Gives @n locked pages their content, and unlocks them. */
static int lkl_cache_fill(struct file *file, struct page *first, unsigned int n, bool clean)
{
	pgoff_t end = DIV_ROUND_UP(i_size_read(file_inode(file)), PAGE_SIZE);
	bool tmpfs = lkl_is_tmpfs(file->f_mapping);
	unsigned int i, run;
	int err = 0, e;

	for (i = 0; i < n; i += run) {
		struct page *page = first + i;

		for (run = 0; i + run < n && !PageUptodate(page + run) && page[run].index < end;)
			run++;
		if (run && file->f_mapping->a_ops->readahead) {
			lkl_cache_readahead(file, page, run);
			continue;
		}
		run = 1;
		if (!PageUptodate(page) && tmpfs) {
			lkl_tmpfs_fill(page_folio(page), clean);
			continue;
		}
		if (!PageUptodate(page) && page->index >= end) {
			if (!clean)
				clear_highpage(page);
			SetPageUptodate(page);
		}
		unlock_page(page);
	}
	for (i = 0; i < n; i++) {
		e = lkl_cache_wait(file, first + i);
		err = err ?: e;
	}
	return err;
}

static int lkl_cache_write(struct address_space *mapping, pgoff_t index, unsigned long n)
{
	if (!mapping_can_writeback(mapping))
		return 0;
	return filemap_write_and_wait_range(mapping, lkl_cache_pos(index),
					    lkl_cache_pos(index + n) - 1);
}

int lkl_cache_take(struct file *file, struct page *first, pgoff_t index, unsigned long n,
		   bool clean)
{
	struct address_space *mapping = file->f_mapping;
	unsigned int retries = LKL_CACHE_RETRIES;
	unsigned long done = 0;

	while (done < n) {
		unsigned int batch = min_t(unsigned long, n - done, LKL_CACHE_BATCH), i;
		int err = lkl_cache_write(mapping, index + done, batch), e;

		/* A hole may be half made: its pages are dropped before its blocks are freed. */
		filemap_invalidate_lock_shared(mapping);
		for (i = 0; i < batch && !err; i += !err)
			err = lkl_cache_insert(mapping, first + done + i, index + done + i);
		e = lkl_cache_fill(file, first + done, i, clean);
		filemap_invalidate_unlock_shared(mapping);
		if (e)
			return e;
		if (err == -EAGAIN && retries--)
			err = 0;
		if (err)
			return err == -EAGAIN ? -EBUSY : err;
		done += i;
		cond_resched();
	}
	return 0;
}

/* Replaces the page that the page cache has, or reads one first. */
static int lkl_cache_try_return(struct file *file, struct page *page, pgoff_t index)
{
	struct page *old = read_mapping_page(file->f_mapping, index, file);
	int err = -EAGAIN;

	if (IS_ERR(old))
		return PTR_ERR(old);
	lock_page(old);
	if (old->mapping == file->f_mapping && PageUptodate(old)) {
		lkl_cache_prepare(page);
		err = lkl_cache_replace(old, page);
		unlock_page(page);
	}
	unlock_page(old);
	put_page(old);
	return err;
}

int lkl_cache_return(struct file *file, struct page *page, pgoff_t index)
{
	struct address_space *mapping = file->f_mapping;
	unsigned int retries = LKL_CACHE_RETRIES;
	int err;

	do {
		err = lkl_cache_write(mapping, index, 1);
		if (err)
			break;
		filemap_invalidate_lock_shared(mapping);
		err = lkl_cache_try_return(file, page, index);
		filemap_invalidate_unlock_shared(mapping);
	} while (err == -EAGAIN && retries--);
	return err == -EAGAIN ? -EBUSY : err;
}

int lkl_cache_evict(struct address_space *mapping, struct page *page)
{
	struct page *new = __page_cache_alloc(mapping_gfp_mask(mapping));
	unsigned int retries = LKL_CACHE_RETRIES;
	int err;

	if (!new)
		return -ENOMEM;
	__SetPageLocked(new);
	do {
		err = lkl_cache_write(mapping, page->index, 1);
		if (err)
			break;
		lock_page(page);
		if (page->mapping == mapping)
			err = lkl_cache_replace(page, new);
		unlock_page(page);
	} while (err == -EAGAIN && retries--);
	unlock_page(new);
	if (new->mapping)
		lru_cache_add(new);
	put_page(new);
	return err;
}

bool lkl_cache_leave(struct page *page, bool beyond_end)
{
	bool cached;

	lock_page(page);
	if (beyond_end)
		generic_error_remove_page(page->mapping, page);
	cached = page->mapping;
	if (cached)
		lru_cache_add(page);
	unlock_page(page);
	return cached;
}
