// SPDX-License-Identifier: GPL-2.0-only
/*
 * The program's memory. The kernel's page allocator knows blocks of a power of two, 4 MiB at most: the arena takes such
 * blocks when it needs them, joins those that lie side by side, hands out runs of pages of any length, and gives back
 * what it does not need. So neither the program nor the page cache has a share that the other one cannot use.
 *
 * Nothing here sleeps but allocators, and nothing preempts. What is the program's changes under its mm's lock, as its account
 * of it does (vma.c); what nobody uses may go at any allocation.
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

extern char _end[];

static unsigned long *busy;	/* 0: the arena has this page and nobody uses it */
static unsigned long *mapped;	/* 1: the program has it */
unsigned long *lkl_dirty_pages;	/* 1: it may hold something else than zero */
static unsigned long *dirty_map;

static unsigned long pages;	/* end of memory */
static unsigned long available;	/* pages of the arena that nobody uses */
static unsigned long lowest;	/* no such page is below */
static unsigned int chunk_order;	/* how much is taken and given back at least */

void arch_free_page(struct page *page, int order)
{
	if (lkl_dirty_pages)
		bitmap_set(lkl_dirty_pages, page_to_pfn(page), 1UL << order);
}

/* What the kernel keeps for itself when the program asks for everything. */
static unsigned long reserve(void)
{
	return max(pages / 64, 128UL);
}

/* /proc/meminfo: what the arena has and nobody uses, which is not in MemFree. */
void arch_report_meminfo(struct seq_file *m)
{
	seq_printf(m, "ArenaFree:      %8lu kB\n", available << (PAGE_SHIFT - 10));
}

void __init lkl_arena_init(void)
{
	size_t size;
	phys_addr_t start, end, low = lkl_memory_end - SZ_64K;
	u64 i;

	pages = PFN_DOWN(lkl_memory_end);
	lowest = pages;
	chunk_order = clamp(ilog2(pages / 64), 0, MAX_ORDER - 1);
	size = BITS_TO_LONGS(pages) * sizeof(long);
	busy = memblock_alloc(size, SMP_CACHE_BYTES);
	mapped = memblock_alloc(size, SMP_CACHE_BYTES);
	dirty_map = memblock_alloc(size, SMP_CACHE_BYTES);
	if (!busy || !mapped || !dirty_map)
		panic("Not enough memory to start");
	bitmap_fill(busy, pages);
	/* Where memory has been handed out already some of it may have come back. */
	for_each_reserved_mem_range(i, &start, &end)
		if (start > (phys_addr_t)_end)
			low = min(low, start);
	bitmap_set(dirty_map, PFN_DOWN(low), pages - PFN_DOWN(low));
	bitmap_set(dirty_map, 0, PFN_UP((unsigned long)_end));
}

static void take(struct page *page, unsigned int order)
{
	unsigned long first = page_to_pfn(page);

	split_page(page, order);
	bitmap_clear(busy, first, 1UL << order);
	available += 1UL << order;
	lowest = min(lowest, first);
}

/* Gives n unused pages back to the kernel. */
static void release(unsigned long first, unsigned long n)
{
	unsigned long i;

	bitmap_set(busy, first, n);
	available -= n;
	for (i = first; i < first + n; i++) {
		bool dirty = test_bit(i, lkl_dirty_pages);

		__free_page(pfn_to_page(i));
		if (!dirty)
			__clear_bit(i, lkl_dirty_pages);
	}
}

/* Gives back whole chunks that touch the n pages from first on, but for keep pages. */
static unsigned long trim(unsigned long first, unsigned long n, unsigned long keep)
{
	unsigned long chunk = 1UL << chunk_order, at, freed = 0;

	for (at = round_down(first, chunk); at < first + n && at + chunk <= pages; at += chunk) {
		if (available < keep + chunk)
			break;
		if (find_next_bit(busy, at + chunk, at) < at + chunk)
			continue;
		release(at, chunk);
		freed += chunk;
	}
	return freed;
}

/*
 * Unused pages for n: the lowest, but at their end if the program's memory is there and not before them. So what is left
 * over joins the next block of the kernel's, which come from below as often as from above, instead of being lost.
 */
static unsigned long find(unsigned long n)
{
	unsigned long first, end;

	if (available < n)
		return 0;
	first = bitmap_find_next_zero_area(busy, pages, lowest, n, 0);
	if (first >= pages)
		return 0;
	if (test_bit(first - 1, mapped))
		return first;
	end = find_next_bit(busy, pages, first);
	return end < pages && test_bit(end, mapped) ? end - n : first;
}

/* Takes pages from the kernel until there are n in a row. */
static unsigned long grow(unsigned long n)
{
	unsigned int least = min_t(unsigned int, get_order(n << PAGE_SHIFT), MAX_ORDER - 1);
	/* Of a block that is hardly larger than what is wanted half may be left over. */
	unsigned int order = max(min_t(unsigned int, least + 1, MAX_ORDER - 1), chunk_order);
	unsigned long first, taken = 0;

	least = least > 3 ? least - 3 : 0;
	for (;;) {
		gfp_t how = order > least ? __GFP_NORETRY : __GFP_RETRY_MAYFAIL;
		struct page *page = NULL;

		/* What is still to be taken, and the kernel's own; where pages lie scattered, as much as it takes. */
		if (si_mem_available() >= (long)(reserve() + max(n, taken + (1UL << order)) - taken))
			page = alloc_pages(GFP_KERNEL | __GFP_NOWARN | how, order);
		if (!page) {
			if (order == least)
				return 0;
			order--;
			continue;
		}
		take(page, order);
		taken += 1UL << order;
		first = find(n);
		if (first)
			return first;
	}
}

/* Makes unused pages the program's. */
static void map(unsigned long first, unsigned long n)
{
	unsigned long at, end;

	bitmap_set(busy, first, n);
	bitmap_set(mapped, first, n);
	available -= n;
	if (first == lowest)
		lowest = first + n;
	for (at = first; at < first + n; at = end) {
		at = find_next_bit(lkl_dirty_pages, first + n, at);
		if (at >= first + n)
			break;
		end = find_next_zero_bit(lkl_dirty_pages, first + n, at);
		memset(pfn_to_virt(at), 0, (end - at) << PAGE_SHIFT);
	}
	bitmap_set(lkl_dirty_pages, first, n);
}

unsigned long lkl_arena_alloc(unsigned long n)
{
	unsigned long first;

	if (!n || n > pages)
		return 0;
	mmap_write_lock(current->mm);
	first = find(n);
	if (!first)
		first = grow(n);
	if (first) {
		map(first, n);
		lkl_vma_add(first, n);
	} else {
		trim(0, pages, 0);
	}
	mmap_write_unlock(current->mm);
	return first;
}

static bool claim(unsigned long first, unsigned long n, bool free)
{
	unsigned long at;

	for (at = first; at < first + n; at++)
		if (test_bit(at, mapped) ? free : test_bit(at, busy))
			return false;
	for (at = first; at < first + n; at++)
		if (test_bit(at, mapped))
			clear_page(pfn_to_virt(at));
		else
			map(at, 1);
	lkl_vma_add(first, n);
	return true;
}

bool lkl_arena_claim(unsigned long first, unsigned long n, bool free)
{
	bool ok;

	if (first + n > pages || first + n < first)
		return false;
	mmap_write_lock(current->mm);
	ok = claim(first, n, free);
	mmap_write_unlock(current->mm);
	return ok;
}

bool lkl_arena_mapped(unsigned long first, unsigned long n)
{
	return first + n <= pages && first + n >= first && find_next_zero_bit(mapped, first + n, first) >= first + n;
}

bool lkl_arena_touches(unsigned long first, unsigned long n)
{
	return first < pages && find_next_bit(mapped, min(first + n, pages), first) < min(first + n, pages);
}

void lkl_arena_free(unsigned long first, unsigned long n)
{
	unsigned long at, end, limit;

	if (first >= pages)
		return;
	limit = min(pages, first + n);
	mmap_write_lock(current->mm);
	for (at = find_next_bit(mapped, limit, first); at < limit; at = find_next_bit(mapped, limit, end)) {
		end = find_next_zero_bit(mapped, limit, at);
		lkl_vma_remove(at, end - at);
		bitmap_clear(mapped, at, end - at);
		bitmap_clear(busy, at, end - at);
		available += end - at;
		lowest = min(lowest, at);
	}
	trim(first, limit - first, 2UL << chunk_order);
	mmap_write_unlock(current->mm);
}

static unsigned long count(struct shrinker *s, struct shrink_control *sc)
{
	return available ?: SHRINK_EMPTY;
}

static unsigned long scan(struct shrinker *s, struct shrink_control *sc)
{
	unsigned long freed = trim(0, pages, 0), at;

	/* No whole chunk: single pages then. */
	for (at = lowest; !freed && at < pages; at = at + 1) {
		at = find_next_zero_bit(busy, pages, at);
		if (at >= pages)
			break;
		release(at, 1);
		if (++freed >= sc->nr_to_scan)
			break;
	}
	return freed ?: SHRINK_STOP;
}

static struct shrinker shrinker = {
	.count_objects = count,
	.scan_objects = scan,
	.seeks = 1,
};

static int __init arena_start(void)
{
	return register_shrinker(&shrinker, "program-memory");
}
core_initcall(arena_start);

/* Called when all free memory is with the page allocator. */
void __init lkl_arena_watch(void)
{
	lkl_dirty_pages = dirty_map;
}
