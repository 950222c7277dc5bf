// SPDX-License-Identifier: GPL-2.0-only
/*
 * Contiguous memory: takes any run of pages that the page allocator or the page
 * cache has. The page allocator alone can only hand out the blocks of a power of
 * two that happen to be free.
 *
 * A search looks at each page once and finds the run that costs the least. The
 * pages of the page cache in it are dropped, or moved if they are dirty. What
 * remains are free pages, which leave the page allocator one block at a time.
 */
#include <linux/buffer_head.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/page-isolation.h>
#include <linux/shrinker.h>
#include <linux/swap.h>
#include <asm/arena.h>
#include <asm/page.h>
#include "../../../mm/internal.h"
#include "../../../mm/slab.h"
#include "contig.h"

/* How often caches are dropped for one allocation, at most. */
#define LKL_CONTIG_ROUNDS 4

/* The pages that a search looks at, at least. */
#define LKL_CONTIG_SEARCH (SZ_256M >> PAGE_SHIFT)

/* A run of pages, and the gap in which it lies. */
struct lkl_run {
	unsigned long first, cost, gap;
};

/* The pages dropped since the last lkl_contig_shrink(). */
static unsigned long lkl_contig_dropped;

/* The end of the block of free pages that contains @pfn, or 0. */
static unsigned long lkl_contig_free_end(unsigned long pfn, unsigned long *start)
{
	unsigned int order;

	for (order = 0; order < MAX_ORDER; order++) {
		struct page *page = pfn_to_page(pfn & ~0UL << order);

		*start = page_to_pfn(page);
		if (!pfn_valid(*start))
			break;
		if (PageBuddy(page))
			return buddy_order(page) >= order ? *start + (1UL << buddy_order(page)) : 0;
	}
	return 0;
}

/* The cost of the page @at, and the end of the pages from there on of the same kind. */
static enum lkl_page_cost lkl_contig_cost(unsigned long at, unsigned long limit,
					  unsigned long *end)
{
	struct page *page = pfn_to_page(at);
	unsigned long start, free_end;

	*end = at + 1;
	if (test_bit(at, lkl_arena_mapped_map)) {
		*end = find_next_zero_bit(lkl_arena_mapped_map, limit, at);
		return LKL_PAGE_FIXED;
	}
	if (!test_bit(at, lkl_arena_busy_map)) {
		*end = find_next_bit(lkl_arena_busy_map, min(limit, pageblock_end_pfn(at)), at);
		return LKL_PAGE_FREE;
	}
	if (PageBuddy(page)) {
		*end = min(limit, at + (1UL << buddy_order(page)));
		return LKL_PAGE_FREE;
	}
	/* The part of a block of free pages, where a given run begins. */
	free_end = page_count(page) ? 0 : lkl_contig_free_end(at, &start);
	if (free_end) {
		*end = min(limit, free_end);
		return LKL_PAGE_FREE;
	}
	if (PageHead(page)) {
		*end = min(limit, at + compound_nr(page));
		return LKL_PAGE_FIXED;
	}
	return lkl_page_cache_cost(page);
}

/*
 * The cost of all pages from @at to @end, which lie in one pageblock. Those in a
 * block of the kernel cost more, so that the program's memory does not end up
 * between memory that cannot move.
 */
static unsigned long lkl_contig_run_cost(unsigned long at, unsigned long end,
					 enum lkl_page_cost page)
{
	bool kernel = get_pageblock_migratetype(pfn_to_page(at)) != MIGRATE_MOVABLE;

	return (end - at) * (page + 2 * kernel);
}

/* The cost of n pages, and how many of them have to be copied. */
static unsigned long lkl_contig_weigh(unsigned long first, unsigned long n, unsigned long *moves)
{
	unsigned long at, end, limit = first + n, cost = 0;

	*moves = 0;
	for (at = first; at < limit; at = end) {
		enum lkl_page_cost page = lkl_contig_cost(at, limit, &end);

		if (page == LKL_PAGE_FIXED)
			return ULONG_MAX;
		if (page == LKL_PAGE_MOVABLE)
			*moves += end - at;
		cost += lkl_contig_run_cost(at, end, page);
	}
	return cost;
}

/*
 * Compares both ends of a gap between pages that cannot be freed with the best run so
 * far. A run at an end leaves one gap instead of two. Costs that differ little count
 * as the same; then the smaller gap is better.
 */
static void lkl_contig_consider(unsigned long gap, unsigned long end, unsigned long n,
				struct lkl_run *best)
{
	const unsigned long starts[] = { gap, end - n };
	int i;

	for (i = 0; i < ARRAY_SIZE(starts); i++) {
		unsigned long moves, cost = 4 * lkl_contig_weigh(starts[i], n, &moves) / n;

		if (cost > best->cost || (cost == best->cost && end - gap >= best->gap))
			continue;
		best->cost = cost;
		best->first = starts[i];
		best->gap = end - gap;
	}
}

/*
 * Finds a good run of n pages: one that costs next to nothing, or the best of a part
 * of the memory if no page has to be copied. Returns false if no run exists.
 */
static bool lkl_contig_search(unsigned long n, struct lkl_run *best)
{
	unsigned long gap = PFN_DOWN(0x100000UL), at = gap, part = max(LKL_CONTIG_SEARCH, 16 * n);
	unsigned long end;

	best->cost = ULONG_MAX;
	for (; at < lkl_arena_pages; at = end) {
		bool fixed = lkl_contig_cost(at, lkl_arena_pages, &end) == LKL_PAGE_FIXED;
		unsigned long stop = fixed ? at : end;

		if (!fixed && end < lkl_arena_pages && end - gap < part)
			continue;
		if (stop - gap >= n)
			lkl_contig_consider(gap, stop, n, best);
		if (!best->cost || (best->cost <= 4 * LKL_PAGE_CLEAN && end > part))
			break;
		gap = end;
	}
	return best->cost != ULONG_MAX;
}

/* Empties the lists that refer to pages for a while. */
static void lkl_contig_settle(void)
{
	invalidate_bh_lrus_cpu();
	lru_add_drain();
	drain_local_pages(NULL);
}

/*
 * Allocates pages outside of a run, to move pages of the run there. Returns false
 * if there is not enough memory.
 */
static bool lkl_contig_alloc_targets(unsigned long first, unsigned long n, unsigned long wanted,
				     struct list_head *targets)
{
	LIST_HEAD(inside);
	struct page *page, *next;

	while (wanted) {
		page = alloc_page(GFP_HIGHUSER_MOVABLE | __GFP_NOWARN | __GFP_NORETRY);
		if (!page)
			break;
		if (page_to_pfn(page) >= first && page_to_pfn(page) < first + n) {
			list_add(&page->lru, &inside);
		} else {
			list_add(&page->lru, targets);
			wanted--;
		}
	}
	list_for_each_entry_safe(page, next, &inside, lru)
		__free_page(page);
	return !wanted;
}

/* Empties a run: drops or moves the page cache in it. */
static bool lkl_contig_evict(unsigned long first, unsigned long n, struct list_head *targets)
{
	unsigned long at = first, end, limit = first + n;

	for (; at < limit; at = end) {
		struct page *page = pfn_to_page(at), *to;
		enum lkl_page_cost cost = lkl_contig_cost(at, limit, &end);

		if (cost == LKL_PAGE_FREE)
			continue;
		if (cost == LKL_PAGE_CLEAN && lkl_page_cache_drop(page)) {
			lkl_contig_dropped++;
			continue;
		}
		to = list_first_entry_or_null(targets, struct page, lru);
		if (cost == LKL_PAGE_FIXED || !to)
			return false;
		list_del(&to->lru);
		if (!lkl_page_cache_move(page, to)) {
			__free_page(to);
			return false;
		}
	}
	return true;
}

/* The order of the largest block that begins at @first and ends at or before @end. */
static unsigned int lkl_contig_order(unsigned long first, unsigned long end)
{
	return min_t(unsigned int, __ffs(first), ilog2(end - first));
}

/*
 * Takes a block of free pages from the page allocator, and returns the part of it
 * outside of a run. The page allocator refuses if too little memory would remain.
 */
static bool lkl_contig_take_block(unsigned long block, unsigned long first, unsigned long limit)
{
	struct page *page = pfn_to_page(block);
	unsigned long at, end = block + (1UL << buddy_order(page)), flags;
	struct zone *zone = page_zone(page);
	unsigned int order;
	bool ok;

	spin_lock_irqsave(&zone->lock, flags);
	ok = __isolate_free_page(page, buddy_order(page));
	for (at = block; ok && at < end; at += 1UL << order) {
		unsigned long to = at < first ? first : at < limit ? min(limit, end) : end;

		page = pfn_to_page(at);
		order = lkl_contig_order(at, to);
		if (at >= first && at < limit) {
			set_page_refcounted(page);
			lkl_arena_add_block(page, order);
		} else {
			__putback_isolated_page(page, order, get_pageblock_migratetype(page));
		}
	}
	spin_unlock_irqrestore(&zone->lock, flags);
	return ok;
}

/* Takes the pages of an emptied run. If that fails, the pages taken before stay the arena's. */
static bool lkl_contig_isolate(unsigned long first, unsigned long n)
{
	unsigned long at, limit = first + n, block;

	drain_local_pages(NULL);
	for (at = find_next_bit(lkl_arena_busy_map, limit, first); at < limit;
	     at = find_next_bit(lkl_arena_busy_map, limit, at))
		if (!lkl_contig_free_end(at, &block) || !lkl_contig_take_block(block, first, limit))
			return false;
	return true;
}

bool lkl_contig_take(unsigned long first, unsigned long n)
{
	LIST_HEAD(targets);
	struct page *page, *next;
	unsigned long moves;
	bool ok;

	lkl_contig_settle();
	if (lkl_contig_weigh(first, n, &moves) == ULONG_MAX)
		return false;
	ok = lkl_contig_alloc_targets(first, n, moves, &targets);
	/* That may have slept. Nothing below sleeps. */
	ok = ok && lkl_contig_evict(first, n, &targets) && lkl_contig_isolate(first, n);
	list_for_each_entry_safe(page, next, &targets, lru)
		__free_page(page);
	return ok;
}

struct lkl_shrink {
	unsigned long part, whole;
};

static void lkl_contig_shrink_super(struct super_block *sb, void *arg)
{
	const struct lkl_shrink *shrink = arg;
	struct shrinker *s = &sb->s_shrink;
	struct shrink_control sc = { .gfp_mask = GFP_KERNEL };
	unsigned long count = s->count_objects(s, &sc);

	if (count == SHRINK_EMPTY)
		return;
	for (count = mult_frac(count, shrink->part, shrink->whole); count;
	     count -= sc.nr_to_scan) {
		sc.nr_to_scan = min(count, 128UL);
		sc.nr_scanned = sc.nr_to_scan;
		if (s->scan_objects(s, &sc) == SHRINK_STOP)
			break;
		cond_resched();
	}
}

void lkl_contig_shrink(void)
{
	struct lkl_shrink shrink = {
		.whole = 1 + lkl_contig_dropped + global_node_page_state(NR_ACTIVE_FILE) +
			 global_node_page_state(NR_INACTIVE_FILE),
	};

	/* More of them, because an inode can be dropped only after its dentry and its pages. */
	shrink.part = min(4 * lkl_contig_dropped, shrink.whole);
	lkl_contig_dropped = 0;
	if (shrink.part)
		iterate_supers(lkl_contig_shrink_super, &shrink);
}

/* Drops clean page cache, up to a number of pages, from the end of memory downwards. */
static void lkl_contig_drop_pages(unsigned long most)
{
	unsigned long at, end;

	for (at = lkl_arena_pages - 1; most && at > PFN_DOWN(0x100000UL); at--) {
		if (lkl_contig_cost(at, at + 1, &end) == LKL_PAGE_CLEAN &&
		    lkl_page_cache_drop(pfn_to_page(at))) {
			lkl_contig_dropped++;
			most--;
		}
		if (pageblock_aligned(at))
			cond_resched();
	}
}

/* Each cache of the slab allocator keeps some slabs without objects. */
static void lkl_contig_shrink_slabs(void)
{
	struct kmem_cache *cache;

	mutex_lock(&slab_mutex);
	list_for_each_entry(cache, &slab_caches, list)
		__kmem_cache_shrink(cache);
	mutex_unlock(&slab_mutex);
}

/*
 * The free block of at least this order at the lowest address, or 0. The program's
 * memory cannot move, so it should lie together.
 */
static unsigned long lkl_contig_lowest_block(unsigned int order)
{
	const struct free_area *area = NODE_DATA(0)->node_zones[ZONE_NORMAL].free_area;
	int type = page_group_by_mobility_disabled ? MIGRATE_UNMOVABLE : MIGRATE_MOVABLE;
	unsigned long lowest = ULONG_MAX;
	const struct page *page;

	for (; order < MAX_ORDER; order++)
		list_for_each_entry(page, &area[order].free_list[type], buddy_list)
			lowest = min(lowest, page_to_pfn(page));
	return lowest == ULONG_MAX ? 0 : lowest;
}

/*
 * The first of the free pages in a row up to @block, without those of the kernel's
 * blocks. Below the lowest block of an order, these are few blocks: each is smaller than
 * the one that follows. Without spare blocks, memory of the kernel lies between such pages.
 */
static unsigned long lkl_contig_free_start(unsigned long block)
{
	int type = get_pageblock_migratetype(pfn_to_page(block));
	unsigned long first = block;

	if (!lkl_spare_has_blocks())
		return first;
	while (get_pageblock_migratetype(pfn_to_page(first - 1)) == type &&
	       lkl_contig_free_end(first - 1, &block))
		first = block;
	return first;
}

/*
 * The pages begin where the run of free pages begins. From the start of the block on,
 * each small mapping before a large one would leave a part of a block that is too small
 * for both.
 */
bool lkl_contig_take_free(unsigned int order)
{
	unsigned long first;

	lkl_contig_settle();
	first = lkl_contig_lowest_block(order);
	return first && lkl_contig_isolate(lkl_contig_free_start(first), 1UL << order);
}

static void lkl_contig_write_back(struct super_block *sb, void *arg)
{
	if (!sb_rdonly(sb))
		sync_inodes_sb(sb);
}

/*
 * Makes more pages free, and fewer fixed. The first time, too few pages may have been
 * free to take some of them. After that the kernel's memory is in the way. The journal
 * gives up buffers when their pages and inodes are dropped, and what they pinned can be
 * dropped only then: so this takes more than one round. Returns false if nothing
 * has changed.
 */
static bool lkl_contig_relax(int round, unsigned long n)
{
	unsigned long before = global_zone_page_state(NR_FREE_PAGES);

	if (round == LKL_CONTIG_ROUNDS - 1)
		iterate_supers(lkl_contig_write_back, NULL);
	lkl_contig_drop_pages(round ? ULONG_MAX : n);
	if (round) {
		drop_slab();
		lkl_contig_shrink_slabs();
	}
	lkl_contig_settle();
	return global_zone_page_state(NR_FREE_PAGES) != before;
}

static bool lkl_contig_try(unsigned long n, struct lkl_run *run)
{
	lkl_contig_settle();
	return lkl_contig_search(n, run) && lkl_contig_take(run->first, n);
}

bool lkl_contig_alloc(unsigned long n, bool hard)
{
	bool changed = true;
	struct lkl_run run;
	int round;

	/* No way to make a run that the program's own memory interrupts. */
	if (bitmap_find_next_zero_area(lkl_arena_mapped_map, lkl_arena_pages,
				       PFN_DOWN(0x100000UL), n, 0) >= lkl_arena_pages)
		return false;
	for (round = 0; lkl_arena_has_memory(n); round++) {
		if (changed && lkl_contig_try(n, &run))
			return true;
		if (!hard || round == LKL_CONTIG_ROUNDS)
			break;
		changed = lkl_contig_relax(round, n);
	}
	return false;
}

/* The extra cost of a block over the one below it, so that the kernel's blocks lie together. */
#define LKL_BLOCK_DISTANCE 64

unsigned long lkl_contig_find_block(void)
{
	unsigned long at, cost, moves, best = 0, lowest = ULONG_MAX;

	lkl_contig_settle();
	for (at = pageblock_nr_pages; at + pageblock_nr_pages <= lkl_arena_pages;
	     at += pageblock_nr_pages) {
		if (get_pageblock_migratetype(pfn_to_page(at)) != MIGRATE_MOVABLE)
			continue;
		cost = lkl_contig_weigh(at, pageblock_nr_pages, &moves);
		if (cost < ULONG_MAX)
			cost += at / pageblock_nr_pages * LKL_BLOCK_DISTANCE;
		if (cost < lowest) {
			lowest = cost;
			best = at;
		}
	}
	return best;
}
