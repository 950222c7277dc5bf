// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared mappings of files: pages that leave the page cache by truncation, holes, or
 * invalidation by a file server. Each is put back with its new content before the
 * system call returns to the program.
 */
#include <linux/fs.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/task_work.h>
#include <linux/workqueue.h>
#include "cachepage.h"
#include "filemap.h"

/* The number of lost pages from @page on that can be read together. */
static unsigned long lkl_shared_lost_run(struct lkl_shared_page *page, unsigned long end)
{
	struct lkl_shared_page *next;
	unsigned long n = 1;

	for (; page->pfn + n < end; n++) {
		next = xa_load(&lkl_shared_pages, page->pfn + n);
		if (!next || next->file != page->file || next->index != page->index + n ||
		    next->writable || next->fresh != page->fresh ||
		    !xa_get_mark(&lkl_shared_pages, next->pfn, LKL_SHARED_LOST))
			break;
	}
	return n;
}

static int lkl_shared_put_back(struct lkl_shared_page *page, unsigned long n)
{
	struct file *file = page->file->vma->vm_file;
	struct page *first = pfn_to_page(page->pfn);

	if (lkl_shared_is_tracked(page))
		return lkl_cache_return(file, first, page->index);
	return lkl_cache_take(file, first, page->index, n, page->fresh);
}

/* The flag takes a reference, as everywhere in Linux: otherwise reclaim may free the page. */
void lkl_shared_settle(struct lkl_shared_page *page)
{
	struct page *p = pfn_to_page(page->pfn);

	lock_page(p);
	/* With the mark, lkl_shared_lost() does not try again at once. */
	xa_set_mark(&lkl_shared_pages, page->pfn, LKL_SHARED_LOST);
	if (p->mapping && !PageUptodate(p))
		generic_error_remove_page(p->mapping, p);
	if (p->mapping) {
		xa_clear_mark(&lkl_shared_pages, page->pfn, LKL_SHARED_LOST);
		page->fresh = false;
		if (lkl_shared_file_needs_private(page->file) && !PagePrivate(p))
			attach_page_private(p, NULL);
	} else {
		lkl_shared_start_timer();
	}
	unlock_page(p);
}

void lkl_shared_unsettle(struct lkl_shared_page *page)
{
	if (lkl_shared_file_needs_private(page->file))
		detach_page_private(pfn_to_page(page->pfn));
}

int lkl_shared_refill(unsigned long first, unsigned long end)
{
	struct lkl_shared_page *page;
	unsigned long n, i, at = first;
	int err = 0, e;

	while (at < end && (page = xa_find(&lkl_shared_pages, &at, end - 1, LKL_SHARED_LOST))) {
		n = page->writable ? 1 : lkl_shared_lost_run(page, end);
		/* The pages may get lost again while they are read. */
		for (i = 0; i < n; i++)
			xa_clear_mark(&lkl_shared_pages, page->pfn + i, LKL_SHARED_LOST);
		e = lkl_shared_put_back(page, n);
		for (i = 0; i < n; i++)
			lkl_shared_settle(xa_load(&lkl_shared_pages, page->pfn + i));
		err = err ?: e;
		at += n;
	}
	return err;
}

static void lkl_shared_refill_all(void)
{
	int err;

	mutex_lock(&lkl_shared_lock);
	do {
		err = lkl_shared_refill(0, ULONG_MAX);
	} while (!err && xa_marked(&lkl_shared_pages, LKL_SHARED_LOST));
	mutex_unlock(&lkl_shared_lock);
	if (err)
		pr_err_ratelimited("lkl: cannot read a page of a mapped file: %d\n", err);
}

/* The task that will put pages back before it returns to the program. */
static struct task_struct *lkl_shared_refiller;

static void lkl_shared_refill_task(struct callback_head *work)
{
	if (lkl_shared_refiller == current)
		lkl_shared_refiller = NULL;
	kfree(work);
	lkl_shared_refill_all();
}

static void lkl_shared_refill_worker(struct work_struct *work)
{
	lkl_shared_refill_all();
}

static DECLARE_WORK(lkl_shared_refill_work, lkl_shared_refill_worker);

/*
 * Called with the page locked, in the middle of an operation of the file system: the
 * page cannot be put back here. A system call does so before it returns.
 */
void lkl_shared_lost(struct folio *folio)
{
	struct lkl_shared_page *page = xa_load(&lkl_shared_pages, folio_pfn(folio));
	struct callback_head *work;

	if (!page)
		return;
	lkl_shared_unsettle(page);
	if (lkl_shared_is_beyond_end(page)) {
		clear_page(pfn_to_virt(page->pfn));
		page->digest = lkl_shared_digest(page);
	}
	if (xa_get_mark(&lkl_shared_pages, page->pfn, LKL_SHARED_LOST))
		return;
	xa_set_mark(&lkl_shared_pages, page->pfn, LKL_SHARED_LOST);
	if (lkl_shared_refiller == current)
		return;
	work = current->flags & PF_KTHREAD ? NULL : kmalloc(sizeof(*work), GFP_ATOMIC);
	if (work) {
		init_task_work(work, lkl_shared_refill_task);
		if (!task_work_add(current, work, TWA_RESUME)) {
			lkl_shared_refiller = current;
			return;
		}
		kfree(work);
	}
	schedule_work(&lkl_shared_refill_work);
}
