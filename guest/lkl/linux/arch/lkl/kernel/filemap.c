// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings of files. A file is read into memory when it is mapped, because there
 * are no page faults that could read it later. Shared mappings of the same part
 * of a file share their memory, as POSIX requires. msync(), munmap() and the end of
 * the guest write it back.
 *
 * The list of mappings has no lock. Nothing preempts a system call, but writing
 * back can sleep: a program must not unmap a file in one thread while it syncs the
 * mapping in another.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/slab.h>
#include <asm/arena.h>
#include <asm/lkl.h>
#include "filemap.h"

LIST_HEAD(lkl_filemaps);

int lkl_filemap_write_back(struct lkl_filemap *map)
{
	loff_t pos = map->offset, size = i_size_read(file_inode(map->file));
	unsigned long done = 0, len;

	if (!map->writable || size <= pos)
		return 0;
	len = min_t(loff_t, map->len, size - pos);
	while (done < len) {
		ssize_t n = kernel_write(map->file, (void *)(map->start + done), len - done, &pos);

		if (n <= 0)
			return n ?: -EIO;
		done += n;
	}
	return 0;
}

struct lkl_filemap *lkl_filemap_find(unsigned long start, unsigned long len)
{
	struct lkl_filemap *map;

	list_for_each_entry(map, &lkl_filemaps, list)
		if (lkl_filemap_overlaps(map, start, len))
			return map;
	return NULL;
}

/* @file may be another open file of the same inode than the one first mapped. */
void lkl_filemap_make_writable(struct lkl_filemap *map, struct file *file)
{
	if (map->writable)
		return;
	get_file(file);
	fput(map->file);
	map->file = file;
	map->writable = true;
}

static void lkl_filemap_drop(struct lkl_filemap *map)
{
	list_del(&map->list);
	fput(map->file);
	kfree(map);
}

/* Removes whole pages @from to @to from a mapping that has one user. */
static int lkl_filemap_cut(struct lkl_filemap *map, unsigned long from, unsigned long to)
{
	struct lkl_filemap *rest;

	if (from <= map->start && to >= lkl_filemap_end(map)) {
		lkl_filemap_drop(map);
		return 0;
	}
	if (from > map->start && to < lkl_filemap_end(map)) {
		rest = kmemdup(map, sizeof(*map), GFP_KERNEL);
		if (!rest)
			return -ENOMEM;
		get_file(rest->file);
		list_add(&rest->list, &lkl_filemaps);
		map->len = from - map->start;
		map = rest;
		from = map->start;
	}
	if (from > map->start) {
		map->len = from - map->start;
	} else {
		map->offset += to - map->start;
		map->len -= to - map->start;
		map->start = to;
	}
	return 0;
}

int lkl_filemap_forget(unsigned long addr, unsigned long len)
{
	struct lkl_filemap *map;
	int err;

	while ((map = lkl_filemap_find(addr, len))) {
		if (map->users > 1)
			return -EBUSY;
		lkl_filemap_write_back(map);
		err = lkl_filemap_cut(map, addr, addr + PAGE_ALIGN(len));
		if (err)
			return err;
	}
	return 0;
}

static struct lkl_filemap *lkl_filemap_same(struct file *file, loff_t offset, unsigned long len)
{
	struct lkl_filemap *map;

	list_for_each_entry(map, &lkl_filemaps, list)
		if (file_inode(map->file) == file_inode(file) && map->offset == offset &&
		    PAGE_ALIGN(map->len) >= PAGE_ALIGN(len))
			return map;
	return NULL;
}

static int lkl_filemap_read(struct file *file, void *to, unsigned long len, loff_t pos)
{
	unsigned long done = 0;

	while (done < len) {
		ssize_t n = kernel_read(file, to + done, len - done, &pos);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += n;
	}
	return 0;
}

static int lkl_filemap_check(struct file *file, const struct lkl_mmap_args *args)
{
	bool shared = (args->flags & MAP_TYPE) != MAP_PRIVATE;

	if (!(file->f_mode & FMODE_READ))
		return -EACCES;
	if (shared && args->prot & PROT_WRITE && !(file->f_mode & FMODE_WRITE))
		return -EACCES;
	if (!S_ISREG(file_inode(file)->i_mode) || !file->f_op->mmap)
		return -ENODEV;
	return 0;
}

/* Adds a user to an existing mapping. Returns the address, or 0 without a mapping. */
static long lkl_filemap_join(struct file *file, const struct lkl_mmap_args *args)
{
	struct lkl_filemap *map;

	if (args->flags & MAP_FIXED)
		return 0;
	map = lkl_filemap_same(file, args->offset, args->len);
	if (!map)
		return 0;
	map->users++;
	if (args->prot & PROT_WRITE)
		lkl_filemap_make_writable(map, file);
	return map->start;
}

long lkl_filemap_mmap(struct file *file, const struct lkl_mmap_args *args)
{
	bool shared = (args->flags & MAP_TYPE) != MAP_PRIVATE;
	struct lkl_filemap *map = NULL;
	long start, err;

	err = lkl_filemap_check(file, args);
	if (err)
		return err;
	if (shared) {
		start = lkl_filemap_join(file, args);
		if (start)
			return start;
		map = kzalloc(sizeof(*map), GFP_KERNEL);
		if (!map)
			return -ENOMEM;
	}
	start = lkl_mmap_place(args);
	if (start < 0) {
		kfree(map);
		return start;
	}
	err = lkl_filemap_read(file, (void *)start, args->len, args->offset);
	if (err) {
		lkl_arena_free(start >> PAGE_SHIFT, lkl_pages(args->len));
		kfree(map);
		return err;
	}
	if (map) {
		map->file = get_file(file);
		map->start = start;
		map->len = args->len;
		map->offset = args->offset;
		map->users = 1;
		map->writable = args->prot & PROT_WRITE;
		list_add(&map->list, &lkl_filemaps);
	}
	return start;
}

/*
 * Called when the program has ended. Its memory is not unmapped, so the mappings
 * would keep their files open, and the file systems could not be unmounted.
 */
void lkl_unmap_files(void)
{
	struct lkl_filemap *map, *next;

	list_for_each_entry_safe(map, next, &lkl_filemaps, list) {
		lkl_filemap_write_back(map);
		lkl_filemap_drop(map);
	}
}
