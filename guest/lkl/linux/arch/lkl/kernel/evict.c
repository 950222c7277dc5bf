// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared mappings of files: pages that become private memory, because the program maps
 * something else there.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <asm/arena.h>
#include "cachepage.h"
#include "filemap.h"

/*
 * Whether the pages of a range can be evicted: none has several users, and there is
 * memory for the pages that their files keep instead.
 */
static bool lkl_shared_can_evict(unsigned long first, unsigned long end)
{
	struct lkl_shared_page *page;
	unsigned long at, n = 0;

	xa_for_each_range(&lkl_shared_pages, at, page, first, end - 1) {
		if (page->users > 1)
			return false;
		n++;
	}
	return !n || lkl_arena_has_memory(n);
}

static int lkl_shared_evict_page(struct lkl_shared_page *page)
{
	int err = lkl_shared_sync_page(page);

	if (err)
		return err;
	lkl_shared_unsettle(page);
	xa_erase(&lkl_shared_pages, page->pfn);
	err = lkl_cache_evict(page->file->mapping, pfn_to_page(page->pfn));
	if (err) {
		/* It was in the tree, so its node is still there, or is small. */
		xa_store(&lkl_shared_pages, page->pfn, page, GFP_KERNEL | __GFP_NOFAIL);
		lkl_shared_settle(page);
		return err;
	}
	xa_erase(&page->file->pages, page->index);
	lkl_shared_file_put(page->file);
	kfree(page);
	return 0;
}

int lkl_shared_evict_locked(unsigned long first, unsigned long end)
{
	struct lkl_shared_page *page;
	unsigned long at;
	int err;

	if (!lkl_shared_can_evict(first, end))
		return -ENOMEM;
	xa_for_each_range(&lkl_shared_pages, at, page, first, end - 1) {
		err = lkl_shared_evict_page(page);
		if (err)
			return err;
	}
	return 0;
}

int lkl_shared_evict(unsigned long first, unsigned long end)
{
	int err;

	if (lkl_shared_next(first, end) == end)
		return 0;
	mutex_lock(&lkl_shared_lock);
	err = lkl_shared_evict_locked(first, end);
	mutex_unlock(&lkl_shared_lock);
	return err;
}
