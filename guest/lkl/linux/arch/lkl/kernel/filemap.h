/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared by mmap.c and filemap.c. */
#ifndef _LKL_FILEMAP_H
#define _LKL_FILEMAP_H

#include <linux/list.h>
#include <linux/mm.h>

/* A shared mapping of a file. */
struct lkl_filemap {
	struct list_head list;
	struct file *file;
	unsigned long start, len;
	loff_t offset;
	unsigned int users;	/* mmap() calls that got this memory */
	bool writable;
};

extern struct list_head lkl_filemaps;

struct lkl_mmap_args {
	unsigned long addr, len, prot, flags;
	loff_t offset;
};

static inline unsigned long lkl_pages(unsigned long len)
{
	return PAGE_ALIGN(len) >> PAGE_SHIFT;
}

static inline unsigned long lkl_filemap_end(const struct lkl_filemap *map)
{
	return map->start + PAGE_ALIGN(map->len);
}

static inline bool lkl_filemap_overlaps(const struct lkl_filemap *map, unsigned long start,
					unsigned long len)
{
	return map->start < start + len && start < lkl_filemap_end(map);
}

/* Reserves memory for a mapping. Returns its address or a negative error number. */
long lkl_mmap_place(const struct lkl_mmap_args *args);

/* Maps a regular file. Returns the address or a negative error number. */
long lkl_filemap_mmap(struct file *file, const struct lkl_mmap_args *args);
/* A shared mapping that overlaps the range, or NULL. */
struct lkl_filemap *lkl_filemap_find(unsigned long start, unsigned long len);
/* Writes the mapping to its file, but not beyond the end of the file. */
int lkl_filemap_write_back(struct lkl_filemap *map);
void lkl_filemap_make_writable(struct lkl_filemap *map, struct file *file);
/*
 * Writes back and drops the shared mappings in a range that is to be reused.
 * Fails with -EBUSY if a mapping has several users: they keep the memory.
 */
int lkl_filemap_forget(unsigned long addr, unsigned long len);

#endif
