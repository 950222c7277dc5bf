/* SPDX-License-Identifier: GPL-2.0-only */
/* Pages of the arena in the page cache. Used by share.c. */
#ifndef _LKL_CACHEPAGE_H
#define _LKL_CACHEPAGE_H

#include <linux/fs.h>

/*
 * Puts @n adjacent pages of the arena into the page cache of a file, from @index
 * on, with the content that the file has there. Pages that the page cache has
 * already are replaced. The page cache takes a reference to each page, and they are
 * not on an LRU list, so that they can be neither reclaimed nor moved. @clean says
 * that the pages contain zeros. After an error some of them are in the page cache.
 */
int lkl_cache_take(struct file *file, struct page *first, pgoff_t index, unsigned long n,
		   bool clean);
/*
 * Puts a page back into the page cache while the program may write to it. Its content
 * changes at once, see lkl_shared_load().
 */
int lkl_cache_return(struct file *file, struct page *page, pgoff_t index);
/* Replaces a page of the arena in the page cache by a new page of the kernel. */
int lkl_cache_evict(struct address_space *mapping, struct page *page);
/*
 * Ends the special treatment of a page: it becomes an ordinary page of the page
 * cache, unless it is beyond the end of the file. Returns false if the page is not in
 * the page cache.
 */
bool lkl_cache_leave(struct page *page, bool beyond_end);

#endif
