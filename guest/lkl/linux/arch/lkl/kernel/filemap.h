/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shared by mmap.c, filemap.c, share.c, evict.c, refill.c, shared_file.c, memlock.c and
 * tmpfs_data.c.
 */
#ifndef _LKL_FILEMAP_H
#define _LKL_FILEMAP_H

#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/xarray.h>

struct lkl_mmap_args {
	unsigned long addr, len, prot, flags;
	loff_t offset;
};

static inline unsigned long lkl_pages(unsigned long len)
{
	return PAGE_ALIGN(len) >> PAGE_SHIFT;
}

/* mmap.c: reserves memory for a mapping. Returns its address or a negative error number. */
long lkl_mmap_place(const struct lkl_mmap_args *args);

/*
 * memlock.c: whether mmap() may lock the memory of a mapping, if it does. Returns 0 or
 * an error number.
 */
int lkl_mlock_check_mmap(const struct lkl_mmap_args *args);
/* Whether n pages more may be locked. */
bool lkl_mlock_has_room(unsigned long n);
/* Locks or unlocks the pages from @start to @end. */
int lkl_mlock_range(unsigned long start, unsigned long end, bool lock);

/* filemap.c: maps a regular file. Returns the address or a negative error number. */
long lkl_filemap_mmap(struct file *file, const struct lkl_mmap_args *args);

/* A file with shared mappings. */
struct lkl_shared_file {
	struct list_head list;
	struct address_space *mapping;
	struct vm_area_struct *vma;	/* the argument of the file's operations */
	const struct address_space_operations *aops;	/* of the file system */
	struct xarray pages;		/* struct lkl_shared_page by index in the file */
	bool pinned;			/* stays without pages too */
};

/* A page of the program that is also in the page cache of a file. */
struct lkl_shared_page {
	struct lkl_shared_file *file;
	unsigned long pfn;
	pgoff_t index;
	u64 digest;		/* of the content that the file system knows */
	unsigned int users;	/* mmap() calls that got this page */
	bool writable;
	bool fresh;		/* never in the page cache so far, zeroed */
};

/*
 * share.c. The lock protects all of the above. Only lkl_shared_lost() does not take it.
 * Pages with the mark have left the page cache, and are to be put back.
 */
extern struct mutex lkl_shared_lock;
extern struct xarray lkl_shared_pages;
#define LKL_SHARED_LOST XA_MARK_0

/* The first shared page at or after frame @first, or @end. Needs no lock. */
unsigned long lkl_shared_next(unsigned long first, unsigned long end);
bool lkl_shared_is_beyond_end(const struct lkl_shared_page *page);
u64 lkl_shared_digest(const struct lkl_shared_page *page);
/* Whether a page has a digest: it has to be written somewhere. */
bool lkl_shared_is_tracked(const struct lkl_shared_page *page);
void lkl_shared_make_writable(struct lkl_shared_page *page);
/* Looks for changes, and puts lost pages back, after some time. */
void lkl_shared_start_timer(void);
/* Passes the change of a page to the file system. Puts a lost page back before. */
int lkl_shared_sync_page(struct lkl_shared_page *page);
/* Unmaps a range. Shared pages lose a user; those that have another one stay. */
void lkl_shared_munmap(unsigned long first, unsigned long end);
void lkl_shared_munmap_locked(unsigned long first, unsigned long end);
/*
 * evict.c: makes shared pages private memory. The file keeps their content. Fails if a
 * page has several users, or if the file system cannot take a change.
 */
int lkl_shared_evict(unsigned long first, unsigned long end);
int lkl_shared_evict_locked(unsigned long first, unsigned long end);
int lkl_shared_mprotect(unsigned long first, unsigned long end);
/* Passes changes to the file system, and with @wait to the disk. */
int lkl_shared_msync(unsigned long first, unsigned long end, bool wait);
/*
 * Passes the changes of a file's mappings, or of all mappings in one or all file systems,
 * to the file systems. Returns the first error.
 */
int lkl_shared_sync_file(int fd);
int lkl_shared_sync_all(const struct super_block *sb);

/* shared_file.c: finds a file, or NULL; and registers it if it is new. */
struct lkl_shared_file *lkl_shared_file_find(struct address_space *mapping);
struct lkl_shared_file *lkl_shared_file_get(struct file *file);
/* Forgets a file without shared pages, unless it is pinned. */
void lkl_shared_file_put(struct lkl_shared_file *f);
/* Whether the file system writes changed pages to a disk or a server. */
bool lkl_shared_file_has_storage(const struct lkl_shared_file *f);
/* Marks a page dirty, and has the file system reserve space for it. */
int lkl_shared_file_dirty(struct lkl_shared_file *f, struct page *page);
bool lkl_shared_file_needs_private(const struct lkl_shared_file *f);
/* share.c: whether the program has changed a page since the file system knows it. */
bool lkl_shared_is_changed(struct folio *folio);
/*
 * Gives a page the content of the one that it replaces in the page cache, unless it
 * is a shared page that the program has changed.
 */
void lkl_shared_load(struct page *to, struct page *from);

/* refill.c: called when a page has left the page cache. */
void lkl_shared_lost(struct folio *folio);
/*
 * Puts all marked pages of a range into the page cache, with the content of the file.
 * Those that cannot be read keep the mark. Returns the first error.
 */
int lkl_shared_refill(unsigned long first, unsigned long end);
/*
 * To be called when a page is shared, and before it ceases to be. The former marks a page
 * that is not in the page cache, or could not be read.
 */
void lkl_shared_settle(struct lkl_shared_page *page);
void lkl_shared_unsettle(struct lkl_shared_page *page);

/* tmpfs_data.c: calls lkl_shared_lost(). */
void lkl_tmpfs_free_folio(struct folio *folio);
static inline bool lkl_is_tmpfs(const struct address_space *mapping)
{
	return mapping->a_ops->free_folio == lkl_tmpfs_free_folio;
}
/* Whether a file of a tmpfs may have all pages of a range. 0 for other file systems. */
int lkl_tmpfs_check_room(struct address_space *mapping, pgoff_t index, unsigned long n);
/*
 * Makes a locked page that was a hole, or is beyond the end, data of the file, and
 * unlocks it. @clean says that it contains zeros.
 */
void lkl_tmpfs_fill(struct folio *folio, bool clean);

#endif
