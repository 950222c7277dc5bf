// SPDX-License-Identifier: GPL-2.0-only
/*
 * Spare blocks for the kernel. The page allocator keeps pages that cannot move in
 * pageblocks of their own as long as a free block is left. Once the page cache has
 * filled the memory, the kernel's pages would spread among its pages, and no run of
 * pages would be free of them. So a worker empties the cheapest block of the page
 * cache before the kernel needs it.
 */
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/page-isolation.h>
#include <linux/workqueue.h>
#include "../../../mm/internal.h"
#include "contig.h"

/* The order of the smallest free block that still counts as spare. */
#define LKL_SPARE_ORDER (pageblock_order - 2)
/* The spare blocks are checked each time that so many pages have been allocated. */
#define LKL_SPARE_PAGES 64
/* The smallest memory of a guest with spare blocks: about 48 MiB. */
#define LKL_SPARE_LEAST_BLOCKS 20

static int lkl_spare_countdown = INT_MAX;

static struct zone *lkl_spare_zone(void)
{
	return &NODE_DATA(0)->node_zones[ZONE_NORMAL];
}

/* In a small guest a spare block would be a large part of the memory. */
bool lkl_spare_has_blocks(void)
{
	return zone_managed_pages(lkl_spare_zone()) >= LKL_SPARE_LEAST_BLOCKS * pageblock_nr_pages;
}

static bool lkl_spare_has(int type, int order)
{
	for (; order <= pageblock_order; order++)
		if (!list_empty(&lkl_spare_zone()->free_area[order].free_list[type]))
			return true;
	return false;
}

/* A type without free pages takes a whole block of the other one, before one of the page cache. */
static bool lkl_spare_is_there(void)
{
	return lkl_spare_has(MIGRATE_UNMOVABLE, pageblock_order) ||
	       (lkl_spare_has(MIGRATE_UNMOVABLE, LKL_SPARE_ORDER) &&
		lkl_spare_has(MIGRATE_RECLAIMABLE, LKL_SPARE_ORDER));
}

static bool lkl_spare_convert_free(struct page *page)
{
	struct zone *zone = lkl_spare_zone();
	bool ok = PageBuddy(page) && buddy_order(page) == pageblock_order;
	unsigned long flags;

	if (!ok)
		return false;
	spin_lock_irqsave(&zone->lock, flags);
	set_pageblock_migratetype(page, MIGRATE_UNMOVABLE);
	move_freepages_block(zone, page, MIGRATE_UNMOVABLE, NULL);
	spin_unlock_irqrestore(&zone->lock, flags);
	return true;
}

static void lkl_spare_work(struct work_struct *work)
{
	unsigned long first = lkl_spare_is_there() ? 0 : lkl_contig_find_block();

	if (!first || lkl_spare_convert_free(pfn_to_page(first)))
		return;
	if (!lkl_contig_take(first, pageblock_nr_pages))
		return;
	set_pageblock_migratetype(pfn_to_page(first), MIGRATE_UNMOVABLE);
	lkl_arena_release(first, pageblock_nr_pages);
	lkl_contig_shrink();
}
static DECLARE_WORK(lkl_spare_worker, lkl_spare_work);

/* Called by the page allocator for each block that it hands out. */
void arch_alloc_page(struct page *page, int order)
{
	lkl_spare_countdown -= 1 << order;
	if (lkl_spare_countdown > 0)
		return;
	lkl_spare_countdown = LKL_SPARE_PAGES;
	if (!lkl_spare_is_there())
		queue_work(system_highpri_wq, &lkl_spare_worker);
}

/*
 * The kernel's blocks lie together at the lowest addresses, because a few pages
 * remain in each of them. The page cache therefore begins at the highest. Reclaim
 * begins before the page cache needs the spare block.
 */
static int __init lkl_spare_init(void)
{
	struct zone *zone = lkl_spare_zone();
	struct list_head *free = &zone->free_area[pageblock_order].free_list[MIGRATE_MOVABLE];
	struct page *page, *next;
	unsigned long flags;

	/*
	 * Reclaim would keep up to 4 MiB more free after the kernel's pages have spread. In a
	 * small guest the kernel's allocations would fail, because the program has the rest.
	 */
	watermark_boost_factor = 0;
	if (!lkl_spare_has_blocks())
		return 0;
	spin_lock_irqsave(&zone->lock, flags);
	list_for_each_entry_safe(page, next, free, buddy_list)
		list_move(&page->buddy_list, free);
	spin_unlock_irqrestore(&zone->lock, flags);
	watermark_scale_factor = max_t(int, watermark_scale_factor,
				       10000 * pageblock_nr_pages / zone_managed_pages(zone));
	setup_per_zone_wmarks();
	lkl_spare_countdown = LKL_SPARE_PAGES;
	return 0;
}
late_initcall(lkl_spare_init);
