// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory of the program.
 *
 * Without page tables, a mapping needs contiguous memory, and the page allocator
 * hands out blocks of a power of two, 4 MiB at most. The arena takes such blocks
 * when it needs them, joins those that are adjacent, allocates runs of pages of
 * any length, and gives back unused blocks. Thus neither the program nor the
 * page cache has a fixed share of memory.
 *
 * A page below lkl_arena_pages is in one of three states:
 *
 *	busy	mapped
 *	1	0	the kernel's, or no memory
 *	0	0	the arena's, unused
 *	1	1	the program's
 *
 * Locking: one CPU without preemption, so code that does not sleep is atomic.
 * Only allocation sleeps. It may run the shrinker below, which takes unused pages
 * away: search again after each allocation (lkl_arena_grow()). Pages of the
 * program, and its VMAs, change under the mm's lock only; the shrinker does not
 * touch them, because it may run while a caller of the arena holds that lock.
 */
#include <linux/bitmap.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/seq_file.h>
#include <linux/shrinker.h>
#include <asm/arena.h>
#include <asm/lkl.h>
#include <asm/sections.h>

static unsigned long *lkl_arena_busy_map;
static unsigned long *lkl_arena_mapped_map;

/*
 * Pages that may hold something other than zero. The host hands out zeroed
 * memory, so a page that was never used need not be cleared, or even touched.
 * The second pointer is set once free pages are tracked.
 */
static unsigned long *lkl_arena_dirty_map;
static unsigned long *lkl_arena_dirty;

static unsigned long lkl_arena_pages;	/* frame number of the end of memory */
static unsigned long lkl_arena_unused;	/* number of unused pages of the arena */
static unsigned long lkl_arena_lowest;	/* the lowest of them is not below */
static unsigned int lkl_arena_order;	/* of the smallest block taken and given back */

/* Called by the page allocator for each block that is freed. */
void arch_free_page(struct page *page, int order)
{
	if (lkl_arena_dirty)
		bitmap_set(lkl_arena_dirty, page_to_pfn(page), 1UL << order);
}

/* The pages that the program cannot get, so that the kernel can still work. */
static unsigned long lkl_arena_kernel_reserve(void)
{
	return max(lkl_arena_pages / 64, 128UL);
}

/* /proc/meminfo: MemFree does not contain the unused pages of the arena. */
void arch_report_meminfo(struct seq_file *m)
{
	seq_printf(m, "ArenaFree:      %8lu kB\n", lkl_arena_unused << (PAGE_SHIFT - 10));
}

void __init lkl_arena_init(void)
{
	size_t size;
	/* The tender's stack is at the end of the heap. */
	phys_addr_t start, end, low = lkl_heap_end - SZ_64K;
	u64 i;

	lkl_arena_pages = PFN_DOWN(lkl_memory_end);
	lkl_arena_lowest = lkl_arena_pages;
	lkl_arena_order = clamp(ilog2(lkl_arena_pages / 64), 0, MAX_ORDER - 1);
	size = BITS_TO_LONGS(lkl_arena_pages) * sizeof(long);
	lkl_arena_busy_map = memblock_alloc(size, SMP_CACHE_BYTES);
	lkl_arena_mapped_map = memblock_alloc(size, SMP_CACHE_BYTES);
	lkl_arena_dirty_map = memblock_alloc(size, SMP_CACHE_BYTES);
	if (!lkl_arena_busy_map || !lkl_arena_mapped_map || !lkl_arena_dirty_map)
		panic("Not enough memory to start");
	bitmap_fill(lkl_arena_busy_map, lkl_arena_pages);
	/*
	 * memblock allocates from the end of memory downwards, and some of that
	 * may have been freed again: all of it counts as dirty.
	 */
	for_each_reserved_mem_range(i, &start, &end)
		if (start > (phys_addr_t)_end)
			low = min(low, start);
	bitmap_set(lkl_arena_dirty_map, PFN_DOWN(low), lkl_arena_pages - PFN_DOWN(low));
	bitmap_set(lkl_arena_dirty_map, 0, PFN_UP((unsigned long)_end));
}

void __init lkl_arena_track_dirty(void)
{
	lkl_arena_dirty = lkl_arena_dirty_map;
}

/* Takes over a block of the page allocator. */
static void lkl_arena_add_block(struct page *page, unsigned int order)
{
	unsigned long first = page_to_pfn(page);

	split_page(page, order);
	bitmap_clear(lkl_arena_busy_map, first, 1UL << order);
	lkl_arena_unused += 1UL << order;
	lkl_arena_lowest = min(lkl_arena_lowest, first);
}

/* Gives n unused pages back to the kernel. Clean pages stay clean. */
static void lkl_arena_release(unsigned long first, unsigned long n)
{
	unsigned long i;

	bitmap_set(lkl_arena_busy_map, first, n);
	lkl_arena_unused -= n;
	for (i = first; i < first + n; i++) {
		bool dirty = test_bit(i, lkl_arena_dirty);

		__free_page(pfn_to_page(i));
		if (!dirty)
			__clear_bit(i, lkl_arena_dirty);
	}
}

/*
 * Gives back the unused blocks that overlap the n pages from @first on, as long
 * as @keep unused pages remain. Returns the number of pages given back.
 */
static unsigned long lkl_arena_trim(unsigned long first, unsigned long n, unsigned long keep)
{
	unsigned long block = 1UL << lkl_arena_order, at, freed = 0;

	for (at = round_down(first, block);
	     at < first + n && at + block <= lkl_arena_pages; at += block) {
		if (lkl_arena_unused < keep + block)
			break;
		if (find_next_bit(lkl_arena_busy_map, at + block, at) < at + block)
			continue;
		lkl_arena_release(at, block);
		freed += block;
	}
	return freed;
}

/*
 * Finds n unused pages in a row, in the lowest hole that is large enough. The run
 * is at the start of the hole, except if only the page after the hole is the
 * program's: then it is at the end. So the rest of the hole lies next to memory of
 * the kernel, and can join the next block that the kernel hands out.
 */
static unsigned long lkl_arena_find(unsigned long n)
{
	unsigned long first, end;

	if (lkl_arena_unused < n)
		return 0;
	first = bitmap_find_next_zero_area(lkl_arena_busy_map, lkl_arena_pages,
					   lkl_arena_lowest, n, 0);
	if (first >= lkl_arena_pages)
		return 0;
	if (test_bit(first - 1, lkl_arena_mapped_map))
		return first;
	end = find_next_bit(lkl_arena_busy_map, lkl_arena_pages, first);
	if (end < lkl_arena_pages && test_bit(end, lkl_arena_mapped_map))
		return end - n;
	return first;
}

/*
 * Takes blocks from the kernel until n unused pages lie in a row. Starts with
 * blocks of twice the size, because up to half of a block that barely fits may
 * be wasted, and accepts smaller ones, down to an eighth of the size, when memory
 * is fragmented.
 */
static unsigned long lkl_arena_grow(unsigned long n)
{
	unsigned int least = min_t(unsigned int, get_order(n << PAGE_SHIFT), MAX_ORDER - 1);
	unsigned int order = max(min_t(unsigned int, least + 1, MAX_ORDER - 1), lkl_arena_order);
	unsigned long first, want, taken = 0;

	least = least > 3 ? least - 3 : 0;
	for (;;) {
		gfp_t retry = order > least ? __GFP_NORETRY : __GFP_RETRY_MAYFAIL;
		struct page *page = NULL;

		/*
		 * The pages still needed must be available without the reserve
		 * of the kernel. Fragmented memory may take more than n pages.
		 */
		want = max(n, taken + (1UL << order)) - taken;
		if (si_mem_available() >= (long)(lkl_arena_kernel_reserve() + want))
			page = alloc_pages(GFP_KERNEL | __GFP_NOWARN | retry, order);
		if (!page) {
			if (order == least)
				return 0;
			order--;
			continue;
		}
		lkl_arena_add_block(page, order);
		taken += 1UL << order;
		first = lkl_arena_find(n);
		if (first)
			return first;
	}
}

/* Hands unused pages to the program, zeroed. */
static void lkl_arena_map(unsigned long first, unsigned long n)
{
	unsigned long at, end;

	bitmap_set(lkl_arena_busy_map, first, n);
	bitmap_set(lkl_arena_mapped_map, first, n);
	lkl_arena_unused -= n;
	if (first == lkl_arena_lowest)
		lkl_arena_lowest = first + n;
	for (at = first; at < first + n; at = end) {
		at = find_next_bit(lkl_arena_dirty, first + n, at);
		if (at >= first + n)
			break;
		end = find_next_zero_bit(lkl_arena_dirty, first + n, at);
		memset(pfn_to_virt(at), 0, (end - at) << PAGE_SHIFT);
	}
	bitmap_set(lkl_arena_dirty, first, n);
}

unsigned long lkl_arena_alloc(unsigned long n)
{
	unsigned long first;

	if (!n || n > lkl_arena_pages)
		return 0;
	mmap_write_lock(current->mm);
	first = lkl_arena_find(n);
	if (!first)
		first = lkl_arena_grow(n);
	if (first) {
		lkl_arena_map(first, n);
		lkl_vma_add(first, n);
	} else {
		lkl_arena_trim(0, lkl_arena_pages, 0);
	}
	mmap_write_unlock(current->mm);
	return first;
}

static bool lkl_arena_claim_locked(unsigned long first, unsigned long n, bool exclusive)
{
	unsigned long at;

	for (at = first; at < first + n; at++) {
		if (test_bit(at, lkl_arena_mapped_map)) {
			if (exclusive)
				return false;
		} else if (test_bit(at, lkl_arena_busy_map)) {
			return false;
		}
	}
	for (at = first; at < first + n; at++) {
		if (test_bit(at, lkl_arena_mapped_map))
			clear_page(pfn_to_virt(at));
		else
			lkl_arena_map(at, 1);
	}
	lkl_vma_add(first, n);
	return true;
}

bool lkl_arena_claim(unsigned long first, unsigned long n, bool exclusive)
{
	bool ok;

	if (first + n > lkl_arena_pages || first + n < first)
		return false;
	mmap_write_lock(current->mm);
	ok = lkl_arena_claim_locked(first, n, exclusive);
	mmap_write_unlock(current->mm);
	return ok;
}

bool lkl_arena_mapped(unsigned long first, unsigned long n)
{
	unsigned long end = first + n;

	return end <= lkl_arena_pages && end >= first &&
	       find_next_zero_bit(lkl_arena_mapped_map, end, first) >= end;
}

bool lkl_arena_overlaps(unsigned long first, unsigned long n)
{
	unsigned long end = min(first + n, lkl_arena_pages);

	return first < lkl_arena_pages && find_next_bit(lkl_arena_mapped_map, end, first) < end;
}

void lkl_arena_free(unsigned long first, unsigned long n)
{
	unsigned long at, end, limit;

	if (first >= lkl_arena_pages)
		return;
	limit = min(lkl_arena_pages, first + n);
	mmap_write_lock(current->mm);
	for (at = find_next_bit(lkl_arena_mapped_map, limit, first); at < limit;
	     at = find_next_bit(lkl_arena_mapped_map, limit, end)) {
		end = find_next_zero_bit(lkl_arena_mapped_map, limit, at);
		lkl_vma_remove(at, end - at);
		bitmap_clear(lkl_arena_mapped_map, at, end - at);
		bitmap_clear(lkl_arena_busy_map, at, end - at);
		lkl_arena_unused += end - at;
		lkl_arena_lowest = min(lkl_arena_lowest, at);
	}
	/* Two blocks stay for the next allocation, so that malloc and free are cheap. */
	lkl_arena_trim(first, limit - first, 2UL << lkl_arena_order);
	mmap_write_unlock(current->mm);
}

static unsigned long lkl_arena_count_objects(struct shrinker *s, struct shrink_control *sc)
{
	return lkl_arena_unused ?: SHRINK_EMPTY;
}

/* Gives back whole blocks, or a single page if no block is unused. */
static unsigned long lkl_arena_scan_objects(struct shrinker *s, struct shrink_control *sc)
{
	unsigned long freed = lkl_arena_trim(0, lkl_arena_pages, 0), at;

	if (freed)
		return freed;
	at = find_next_zero_bit(lkl_arena_busy_map, lkl_arena_pages, lkl_arena_lowest);
	if (at >= lkl_arena_pages)
		return SHRINK_STOP;
	lkl_arena_release(at, 1);
	return 1;
}

static struct shrinker lkl_arena_shrinker = {
	.count_objects = lkl_arena_count_objects,
	.scan_objects = lkl_arena_scan_objects,
	.seeks = 1,
};

static int __init lkl_arena_register_shrinker(void)
{
	return register_shrinker(&lkl_arena_shrinker, "program-memory");
}
core_initcall(lkl_arena_register_shrinker);
