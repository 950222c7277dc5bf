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
#include "contig.h"

unsigned long *lkl_arena_busy_map;
unsigned long *lkl_arena_mapped_map;

/*
 * Pages that may hold something other than zero. The host hands out zeroed
 * memory, so a page that was never used need not be cleared, or even touched.
 * The second pointer is set once free pages are tracked.
 */
static unsigned long *lkl_arena_dirty_map;
static unsigned long *lkl_arena_dirty;

unsigned long lkl_arena_pages;	/* frame number of the end of memory */
static unsigned long lkl_arena_unused;	/* number of unused pages of the arena */
static unsigned long lkl_arena_lowest;	/* the lowest of them is not below */
static unsigned int lkl_arena_order;	/* of the smallest block taken and given back */

/* Called by the page allocator for each block that is freed. */
void arch_free_page(struct page *page, int order)
{
	if (lkl_arena_dirty)
		bitmap_set(lkl_arena_dirty, page_to_pfn(page), 1UL << order);
}

bool lkl_arena_has_memory(unsigned long n)
{
	unsigned long reserve = max(lkl_arena_pages / 64, 128UL);

	return si_mem_available() >= (long)(reserve + n);
}

/*
 * The arena's unused pages are free memory for the system: MemFree, MemAvailable and
 * sysinfo() contain them. The count of the zone, which the page allocator compares
 * with its watermarks, does not.
 */
static void lkl_arena_count_unused(long n)
{
	lkl_arena_unused += n;
	atomic_long_add(n, &vm_zone_stat[NR_FREE_PAGES]);
}

/* /proc/meminfo: the part of MemFree that is the arena's. */
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

void lkl_arena_add_block(struct page *page, unsigned int order)
{
	unsigned long first = page_to_pfn(page);

	split_page(page, order);
	bitmap_clear(lkl_arena_busy_map, first, 1UL << order);
	lkl_arena_count_unused(1UL << order);
	lkl_arena_lowest = min(lkl_arena_lowest, first);
}

/* Pages that were never used stay clean. */
void lkl_arena_release(unsigned long first, unsigned long n)
{
	unsigned long i;

	bitmap_set(lkl_arena_busy_map, first, n);
	lkl_arena_count_unused(-n);
	for (i = first; i < first + n; i++) {
		bool dirty = test_bit(i, lkl_arena_dirty);

		__free_page(pfn_to_page(i));
		if (!dirty)
			__clear_bit(i, lkl_arena_dirty);
	}
}

/*
 * Gives back up to @most unused pages from @first on, at most up to @end. Returns
 * the number of pages given back.
 */
static unsigned long lkl_arena_trim(unsigned long first, unsigned long end, unsigned long most)
{
	unsigned long at, n, freed = 0;

	for (at = find_next_zero_bit(lkl_arena_busy_map, end, first); at < end && freed < most;
	     at = find_next_zero_bit(lkl_arena_busy_map, end, at + n)) {
		n = find_next_bit(lkl_arena_busy_map, end, at) - at;
		n = min(n, most - freed);
		lkl_arena_release(at, n);
		freed += n;
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
 * Takes memory from the kernel so that n unused pages lie in a row. Takes a block
 * for the allocations that follow too, if n is small.
 */
static unsigned long lkl_arena_grow(unsigned long n)
{
	unsigned int order = max_t(unsigned int, get_order(2 * n << PAGE_SHIFT), lkl_arena_order);
	unsigned long block = max(n, 1UL << lkl_arena_order);

	if (!(lkl_arena_has_memory(1UL << order) && lkl_contig_take_free(order)) &&
	    !(n < block && lkl_contig_alloc(block, false)) && !lkl_contig_alloc(n, true))
		return 0;
	return lkl_arena_find(n);
}

/* Hands unused pages to the program, zeroed. */
static void lkl_arena_map(unsigned long first, unsigned long n)
{
	unsigned long at, end;

	bitmap_set(lkl_arena_busy_map, first, n);
	bitmap_set(lkl_arena_mapped_map, first, n);
	lkl_arena_count_unused(-n);
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
	bool grown;

	if (!n || n > lkl_arena_pages)
		return 0;
	mmap_write_lock(current->mm);
	first = lkl_arena_find(n);
	grown = !first;
	if (grown)
		first = lkl_arena_grow(n);
	if (first) {
		lkl_arena_map(first, n);
		lkl_vma_add(first, n);
	}
	mmap_write_unlock(current->mm);
	if (grown)
		lkl_contig_shrink();
	return first;
}

/* Makes those of the pages that the program does not have the arena's. */
static bool lkl_arena_take(unsigned long first, unsigned long n)
{
	unsigned long at, end, limit = first + n;

	for (at = find_next_zero_bit(lkl_arena_mapped_map, limit, first); at < limit;
	     at = find_next_zero_bit(lkl_arena_mapped_map, limit, end)) {
		end = find_next_bit(lkl_arena_mapped_map, limit, at);
		if (find_next_bit(lkl_arena_busy_map, end, at) < end &&
		    (!lkl_arena_has_memory(n) || !lkl_contig_take(at, end - at)))
			return false;
	}
	return true;
}

static bool lkl_arena_claim_locked(unsigned long first, unsigned long n, bool exclusive)
{
	unsigned long at, end, limit = first + n;

	if (exclusive && find_next_bit(lkl_arena_mapped_map, limit, first) < limit)
		return false;
	if (!lkl_arena_take(first, n))
		return false;
	for (at = first; at < limit; at = end) {
		if (test_bit(at, lkl_arena_mapped_map)) {
			end = find_next_zero_bit(lkl_arena_mapped_map, limit, at);
			memset(pfn_to_virt(at), 0, (end - at) << PAGE_SHIFT);
		} else {
			end = find_next_bit(lkl_arena_mapped_map, limit, at);
			lkl_arena_map(at, end - at);
		}
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
	unsigned long at, end, limit, keep;

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
		lkl_arena_count_unused(end - at);
		lkl_arena_lowest = min(lkl_arena_lowest, at);
	}
	/* Two blocks stay for the next allocation, so that malloc and free are cheap. */
	keep = 2UL << lkl_arena_order;
	if (lkl_arena_unused > keep)
		lkl_arena_trim(first, limit, lkl_arena_unused - keep);
	mmap_write_unlock(current->mm);
}

void lkl_arena_give(unsigned long first, unsigned long n)
{
	mmap_write_lock(current->mm);
	lkl_vma_remove(first, n);
	bitmap_clear(lkl_arena_mapped_map, first, n);
	mmap_write_unlock(current->mm);
}

static unsigned long lkl_arena_count_objects(struct shrinker *s, struct shrink_control *sc)
{
	return lkl_arena_unused ?: SHRINK_EMPTY;
}

static unsigned long lkl_arena_scan_objects(struct shrinker *s, struct shrink_control *sc)
{
	return lkl_arena_trim(lkl_arena_lowest, lkl_arena_pages, sc->nr_to_scan) ?: SHRINK_STOP;
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
