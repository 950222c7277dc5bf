// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared mappings of files. Their memory is the page cache of the file (cachepage.c),
 * so a page of a file has one address: a second mapping gets the same memory, or fails
 * if it would have to lie elsewhere.
 *
 * Nothing notices a write to memory. A digest of each page shows whether the program
 * has changed it. msync(), fsync(), munmap(), the end of the program and a timer compare
 * the digests, and mark changed pages dirty.
 *
 * refill.c puts pages back that leave the page cache. evict.c makes shared pages private.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/mman.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <linux/xxhash.h>
#include <asm/arena.h>
#include <asm/lkl.h>
#include "cachepage.h"
#include "filemap.h"

DEFINE_MUTEX(lkl_shared_lock);

/* struct lkl_shared_page by frame number. */
DEFINE_XARRAY(lkl_shared_pages);

/* Changes of mapped pages reach the file system after this time at the latest. */
#define LKL_SHARED_INTERVAL (30 * HZ)

static void lkl_shared_tick(struct work_struct *work);
static DECLARE_DELAYED_WORK(lkl_shared_timer, lkl_shared_tick);

unsigned long lkl_shared_next(unsigned long first, unsigned long end)
{
	unsigned long at = first;

	if (first >= end || !xa_find(&lkl_shared_pages, &at, end - 1, XA_PRESENT))
		return end;
	return at;
}

bool lkl_shared_is_beyond_end(const struct lkl_shared_page *page)
{
	loff_t size = i_size_read(page->file->mapping->host);

	return page->index >= DIV_ROUND_UP(size, PAGE_SIZE);
}

u64 lkl_shared_digest(const struct lkl_shared_page *page)
{
	static u64 of_zeros;

	/* Does not touch memory for a mapping far larger than its file. */
	if (lkl_shared_is_beyond_end(page)) {
		if (!of_zeros)
			of_zeros = xxh64(page_address(ZERO_PAGE(0)), PAGE_SIZE, 0);
		return of_zeros;
	}
	return xxh64(pfn_to_virt(page->pfn), PAGE_SIZE, 0);
}

bool lkl_shared_is_tracked(const struct lkl_shared_page *page)
{
	return page->writable && lkl_shared_file_has_storage(page->file);
}

bool lkl_shared_is_changed(struct folio *folio)
{
	struct lkl_shared_page *page = xa_load(&lkl_shared_pages, folio_pfn(folio));

	return page && lkl_shared_is_tracked(page) && !lkl_shared_is_beyond_end(page) &&
	       lkl_shared_digest(page) != page->digest;
}

/* The program may write while the page is away from the page cache. */
void lkl_shared_load(struct page *to, struct page *from)
{
	struct lkl_shared_page *page = xa_load(&lkl_shared_pages, page_to_pfn(to));
	bool tracked = page && lkl_shared_is_tracked(page);

	if (tracked && lkl_shared_is_changed(page_folio(to)))
		return;
	copy_highpage(to, from);
	if (tracked)
		page->digest = lkl_shared_digest(page);
}

int lkl_shared_sync_page(struct lkl_shared_page *page)
{
	struct page *p = pfn_to_page(page->pfn);
	u64 digest;
	int err;

	while (lkl_shared_is_tracked(page) && !lkl_shared_is_beyond_end(page)) {
		digest = lkl_shared_digest(page);
		if (digest == page->digest)
			break;
		/* Another thread may be punching a hole, for which it has dropped the page. */
		if (xa_get_mark(&lkl_shared_pages, page->pfn, LKL_SHARED_LOST)) {
			err = lkl_shared_refill(page->pfn, page->pfn + 1);
			if (err)
				return err;
			continue;
		}
		err = lkl_shared_file_dirty(page->file, p);
		if (err)
			return err;
		/* The page may have left the page cache meanwhile: then the change is not known. */
		if (p->mapping == page->file->mapping) {
			page->digest = digest;
			break;
		}
	}
	return 0;
}

static int lkl_shared_sync(unsigned long first, unsigned long end)
{
	struct lkl_shared_page *page;
	unsigned long at;
	int err = 0, e;

	if (first >= end)
		return 0;
	xa_for_each_range(&lkl_shared_pages, at, page, first, end - 1) {
		e = lkl_shared_sync_page(page);
		err = err ?: e;
	}
	return err;
}

static void lkl_shared_tick(struct work_struct *work)
{
	struct lkl_shared_page *page;
	bool tracked = false;
	unsigned long at;

	mutex_lock(&lkl_shared_lock);
	/* Pages that could not be read before. */
	lkl_shared_refill(0, ULONG_MAX);
	xa_for_each(&lkl_shared_pages, at, page) {
		tracked |= lkl_shared_is_tracked(page);
		lkl_shared_sync_page(page);
		cond_resched();
	}
	mutex_unlock(&lkl_shared_lock);
	if (tracked || xa_marked(&lkl_shared_pages, LKL_SHARED_LOST))
		lkl_shared_start_timer();
}

void lkl_shared_start_timer(void)
{
	schedule_delayed_work(&lkl_shared_timer, LKL_SHARED_INTERVAL);
}

void lkl_shared_make_writable(struct lkl_shared_page *page)
{
	if (page->writable)
		return;
	page->writable = true;
	if (lkl_shared_is_tracked(page)) {
		page->digest = lkl_shared_digest(page);
		lkl_shared_start_timer();
	}
}

/* Removes a page that has no user left. Returns whether the page cache keeps it. */
static bool lkl_shared_remove(struct lkl_shared_page *page)
{
	struct page *p = pfn_to_page(page->pfn);
	int err = lkl_shared_sync_page(page);
	bool cached;

	if (err)
		pr_err_ratelimited("lkl: changes of a mapped file are lost: error %d\n", err);
	xa_erase(&lkl_shared_pages, page->pfn);
	xa_erase(&page->file->pages, page->index);
	lkl_shared_unsettle(page);
	cached = lkl_cache_leave(p, lkl_shared_is_beyond_end(page));
	lkl_shared_file_put(page->file);
	kfree(page);
	return cached;
}

/* Gives pages of the program to the kernel: they belong to the page cache now. */
static void lkl_shared_give(unsigned long first, unsigned long n)
{
	unsigned long i;

	if (!n)
		return;
	lkl_arena_give(first, n);
	for (i = 0; i < n; i++)
		put_page(pfn_to_page(first + i));
}

void lkl_shared_munmap_locked(unsigned long first, unsigned long end)
{
	struct lkl_shared_page *page;
	unsigned long at = first, next, kept;

	lkl_shared_refill(first, end);
	while (at < end) {
		for (kept = 0; at + kept < end; kept++) {
			page = xa_load(&lkl_shared_pages, at + kept);
			if (!page || page->users > 1 || !lkl_shared_remove(page))
				break;
		}
		lkl_shared_give(at, kept);
		at += kept;
		if (at == end)
			break;
		page = xa_load(&lkl_shared_pages, at);
		if (page) {
			page->users--;
			at++;
		} else {
			/* Private memory, or a page that the page cache has lost. */
			next = lkl_shared_next(at, end);
			lkl_arena_free(at, next - at);
			at = next;
		}
	}
}

void lkl_shared_munmap(unsigned long first, unsigned long end)
{
	mutex_lock(&lkl_shared_lock);
	lkl_shared_munmap_locked(first, end);
	mutex_unlock(&lkl_shared_lock);
}

int lkl_shared_mprotect(unsigned long first, unsigned long end)
{
	struct lkl_shared_page *page;
	unsigned long at;
	int err = 0;

	if (lkl_shared_next(first, end) == end)
		return 0;
	mutex_lock(&lkl_shared_lock);
	xa_for_each_range(&lkl_shared_pages, at, page, first, end - 1) {
		if (!(page->file->vma->vm_file->f_mode & FMODE_WRITE)) {
			err = -EACCES;
			break;
		}
		lkl_shared_make_writable(page);
	}
	mutex_unlock(&lkl_shared_lock);
	return err;
}

/* The file of the first shared page in a range, with a reference, and the end of its pages. */
static struct file *lkl_shared_first_file(unsigned long first, unsigned long *end)
{
	struct lkl_shared_page *page, *next;
	unsigned long at = lkl_shared_next(first, *end), limit = *end;

	if (at == limit)
		return NULL;
	page = xa_load(&lkl_shared_pages, at);
	while (++at < limit) {
		next = xa_load(&lkl_shared_pages, at);
		if (next && next->file != page->file)
			break;
	}
	*end = at;
	return get_file(page->file->vma->vm_file);
}

int lkl_shared_msync(unsigned long first, unsigned long end, bool wait)
{
	unsigned long at = first, next;
	struct file *file;
	int err, e;

	mutex_lock(&lkl_shared_lock);
	err = lkl_shared_sync(first, end);
	mutex_unlock(&lkl_shared_lock);
	while (wait && at < end) {
		next = end;
		mutex_lock(&lkl_shared_lock);
		file = lkl_shared_first_file(at, &next);
		mutex_unlock(&lkl_shared_lock);
		if (!file)
			break;
		e = vfs_fsync(file, 0);
		err = err ?: e;
		fput(file);
		at = next;
	}
	return err;
}

int lkl_shared_sync_file(int fd)
{
	struct lkl_shared_page *page;
	struct lkl_shared_file *f;
	unsigned long at;
	struct fd file;
	int err = 0, e;

	if (xa_empty(&lkl_shared_pages))
		return 0;
	file = fdget(fd);
	if (!file.file)
		return 0;
	mutex_lock(&lkl_shared_lock);
	f = lkl_shared_file_find(file.file->f_mapping);
	if (f)
		xa_for_each(&f->pages, at, page) {
			e = lkl_shared_sync_page(page);
			err = err ?: e;
		}
	mutex_unlock(&lkl_shared_lock);
	fdput(file);
	return err;
}

int lkl_shared_sync_all(const struct super_block *sb)
{
	struct lkl_shared_page *page;
	unsigned long at;
	int err = 0, e;

	if (xa_empty(&lkl_shared_pages))
		return 0;
	mutex_lock(&lkl_shared_lock);
	xa_for_each(&lkl_shared_pages, at, page) {
		if (sb && page->file->mapping->host->i_sb != sb)
			continue;
		e = lkl_shared_sync_page(page);
		err = err ?: e;
	}
	mutex_unlock(&lkl_shared_lock);
	return err;
}

static void lkl_shared_free_private(unsigned long first, unsigned long end)
{
	unsigned long at, next;

	for (at = first; at < end; at = next + 1) {
		next = lkl_shared_next(at, end);
		lkl_arena_free(at, next - at);
	}
}

/* Unmaps a range. Its pages may be in several mappings. */
static void lkl_shared_unmap_all(unsigned long first, unsigned long end)
{
	struct lkl_shared_page *page;
	unsigned long at;

	if (first == end)
		return;
	mutex_lock(&lkl_shared_lock);
	xa_for_each_range(&lkl_shared_pages, at, page, first, end - 1)
		page->users = 1;
	lkl_shared_munmap_locked(first, end);
	mutex_unlock(&lkl_shared_lock);
}

/*
 * Called when the program has ended. Mappings would keep their files open, so that the
 * file systems could not be unmounted, and writing back takes memory.
 */
void lkl_unmap_program(const struct lkl_memory *kept)
{
	unsigned long end = lkl_memory_end >> PAGE_SHIFT;
	unsigned long first = kept->start >> PAGE_SHIFT;
	unsigned long last = first + lkl_pages(kept->size);

	lkl_shared_free_private(0, first);
	lkl_shared_free_private(last, end);
	lkl_shared_unmap_all(0, first);
	lkl_shared_unmap_all(last, end);
}
