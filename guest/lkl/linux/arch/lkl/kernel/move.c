// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frees given pages of the page cache: drops a clean one, moves a dirty one to
 * another page. Linux moves pages in mm/migrate.c, which needs an MMU.
 *
 * One CPU without preemption: between the check of a page and the end of the move
 * nothing else runs. A page with a reference that is not the page cache's stays
 * where it is: it is in use by I/O, a pipe or a reader.
 */
#include <linux/backing-dev.h>
#include <linux/buffer_head.h>
#include <linux/jbd2.h>
#include <linux/pagemap.h>
#include <linux/swap.h>
#include "../../../mm/internal.h"
#include "contig.h"

/* Whether a page's private data are buffers. The file systems without a disk use it otherwise. */
static bool lkl_page_has_buffers(struct page *page, struct address_space *mapping)
{
	struct inode *inode = mapping->host;

	return PagePrivate(page) &&
	       (S_ISBLK(inode->i_mode) || inode->i_sb->s_type->fs_flags & FS_REQUIRES_DEV);
}

static enum lkl_page_cost lkl_buffers_cost(struct page *page)
{
	struct buffer_head *head = page_buffers(page), *bh = head;
	enum lkl_page_cost cost = LKL_PAGE_CLEAN;

	do {
		/* The journal has a reference to each of its buffers, but no pointer to the data. */
		if (atomic_read(&bh->b_count) != buffer_jbd(bh) || buffer_locked(bh) ||
		    buffer_shadow(bh))
			return LKL_PAGE_FIXED;
		if (buffer_dirty(bh) || buffer_jbd(bh))
			cost = LKL_PAGE_MOVABLE;
		bh = bh->b_this_page;
	} while (bh != head);
	return cost;
}

enum lkl_page_cost lkl_page_cache_cost(struct page *page)
{
	enum lkl_page_cost cost = LKL_PAGE_CLEAN;
	struct address_space *mapping;

	if (!PageLRU(page) || PageCompound(page) || PageAnon(page) || PageLocked(page) ||
	    PageWriteback(page) || PagePrivate2(page))
		return LKL_PAGE_FIXED;
	mapping = page->mapping;
	if (!mapping || page_count(page) != 1 + PagePrivate(page))
		return LKL_PAGE_FIXED;
	if (lkl_page_has_buffers(page, mapping))
		cost = lkl_buffers_cost(page);
	else if (PagePrivate(page))
		return LKL_PAGE_FIXED;
	if (cost == LKL_PAGE_CLEAN && (PageDirty(page) || mapping_unevictable(mapping)))
		cost = LKL_PAGE_MOVABLE;
	return cost;
}

bool lkl_page_cache_drop(struct page *page)
{
	bool ok;

	if (lkl_page_cache_cost(page) != LKL_PAGE_CLEAN)
		return false;
	get_page(page);
	lock_page(page);
	ok = invalidate_inode_page(page);
	unlock_page(page);
	put_page(page);
	return ok;
}

static void lkl_move_buffers(struct page *from, struct page *to)
{
	struct buffer_head *head = detach_page_private(from), *bh = head;

	attach_page_private(to, head);
	do {
		set_bh_page(bh, to, bh_offset(bh));
		bh = bh->b_this_page;
	} while (bh != head);
}

/* The number of dirty pages stays the same, except that a zone has its own count. */
static void lkl_move_flags(struct page *from, struct page *to)
{
	if (PageUptodate(from))
		SetPageUptodate(to);
	if (PageError(from))
		SetPageError(to);
	if (TestClearPageReferenced(from))
		SetPageReferenced(to);
	if (TestClearPageActive(from) && !mapping_unevictable(from->mapping))
		SetPageActive(to);
	if (PageWorkingset(from))
		SetPageWorkingset(to);
	if (PageChecked(from))
		SetPageChecked(to);
	if (PageMappedToDisk(from))
		SetPageMappedToDisk(to);
	if (!TestClearPageDirty(from))
		return;
	TestSetPageDirty(to);
	if (page_zone(from) != page_zone(to) && mapping_can_writeback(from->mapping)) {
		dec_zone_page_state(from, NR_ZONE_WRITE_PENDING);
		inc_zone_page_state(to, NR_ZONE_WRITE_PENDING);
	}
}

bool lkl_page_cache_move(struct page *from, struct page *to)
{
	if (lkl_page_cache_cost(from) == LKL_PAGE_FIXED)
		return false;
	get_page(from);
	lock_page(from);
	__SetPageLocked(to);
	/* The isolation from the LRU list takes another reference. */
	if (isolate_lru_page(from)) {
		__ClearPageLocked(to);
		unlock_page(from);
		put_page(from);
		return false;
	}
	copy_highpage(to, from);
	lkl_move_flags(from, to);
	ClearPageUnevictable(from);
	if (PagePrivate(from)) {
		lkl_move_buffers(from, to);
	} else {
		/* Some file systems without a disk keep a pointer without the flag. */
		set_page_private(to, page_private(from));
		set_page_private(from, 0);
	}
	replace_page_cache_page(from, to);
	lru_cache_add(to);
	unlock_page(to);
	unlock_page(from);
	/* The reference of the page cache is now that of @to. */
	put_page(to);
	put_page(from);
	put_page(from);
	return true;
}
