/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared by arena.c, contig.c and move.c. Pages are named by their frame number. */
#ifndef _LKL_CONTIG_H
#define _LKL_CONTIG_H

#include <linux/list.h>
#include <linux/types.h>

struct page;

/* arena.c: the state of each page; see there. */
extern unsigned long *lkl_arena_busy_map, *lkl_arena_mapped_map;
extern unsigned long lkl_arena_pages;
/* Adds a block that has been taken from the page allocator, as unused pages. */
void lkl_arena_add_block(struct page *page, unsigned int order);
/* Gives n unused pages back to the page allocator. */
void lkl_arena_release(unsigned long first, unsigned long n);

/*
 * contig.c: gives the arena n pages in a row, as unused pages: those from @first on, or
 * those that cost the least. Page cache in the way is dropped or moved. With @hard,
 * all caches are dropped if they are in the way. Both may sleep, and fail.
 */
bool lkl_contig_take(unsigned long first, unsigned long n);
bool lkl_contig_alloc(unsigned long n, bool hard);
/*
 * Gives the arena free pages at a low address, as many as a block of this order has.
 * Fails if there is no such block.
 */
bool lkl_contig_take_free(unsigned int order);
/*
 * Drops inodes and dentries in proportion to the page cache that has been dropped
 * since the last call, because they count as available memory too.
 */
void lkl_contig_shrink(void);
/* The pageblock that is best emptied for memory that cannot move, preferably a low one, or 0. */
unsigned long lkl_contig_find_block(void);
/* Whether the guest is large enough for spare blocks: the kernel's memory lies together. */
bool lkl_spare_has_blocks(void);

/*
 * move.c: what it takes to free a page of the page cache. A page that cannot be
 * freed is LKL_PAGE_FIXED.
 */
enum lkl_page_cost {
	LKL_PAGE_FIXED = -1,
	LKL_PAGE_FREE = 0,
	LKL_PAGE_CLEAN = 1,	/* can be dropped */
	LKL_PAGE_MOVABLE = 8,	/* has to be copied */
};

enum lkl_page_cost lkl_page_cache_cost(struct page *page);
/* These do not sleep. They fail if the cost is another one. */
bool lkl_page_cache_drop(struct page *page);
bool lkl_page_cache_move(struct page *from, struct page *to);

#endif
