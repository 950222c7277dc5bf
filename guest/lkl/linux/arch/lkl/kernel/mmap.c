// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmap() and the other calls on memory. The generic nommu versions use blocks of
 * the page allocator and do not support MAP_FIXED; these use the arena.
 *
 * There are no page tables: all memory can be read and written, protections are
 * accepted and not enforced.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mman.h>
#include <linux/syscalls.h>
#include <asm/arena.h>
#include <asm/lkl.h>
#include <asm/sections.h>
#include "filemap.h"

/* Whether the program may name these pages: the image's, or those it has mapped. */
static bool lkl_mmap_is_mapped(unsigned long addr, unsigned long len)
{
	unsigned long end = PAGE_ALIGN((unsigned long)_end);

	if (addr >= (unsigned long)lkl_image_start && addr < (unsigned long)_end &&
	    len <= end - addr)
		return true;
	return addr + len >= addr && lkl_arena_mapped(addr >> PAGE_SHIFT, lkl_pages(len));
}

static long lkl_mmap_place_fixed(const struct lkl_mmap_args *args)
{
	unsigned long first = args->addr >> PAGE_SHIFT, n = lkl_pages(args->len);
	bool exclusive = args->flags & MAP_FIXED_NOREPLACE;

	if (args->addr & ~PAGE_MASK)
		return -EINVAL;
	if (exclusive && lkl_arena_overlaps(first, n))
		return -EEXIST;
	if (lkl_filemap_forget(args->addr, args->len))
		return -ENOMEM;
	return lkl_arena_claim(first, n, exclusive) ? (long)args->addr : -ENOMEM;
}

long lkl_mmap_place(const struct lkl_mmap_args *args)
{
	unsigned long first;

	if (args->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))
		return lkl_mmap_place_fixed(args);
	first = lkl_arena_alloc(lkl_pages(args->len));
	return first ? (long)(first << PAGE_SHIFT) : -ENOMEM;
}

static bool lkl_mmap_is_dev_zero(struct file *file)
{
	struct inode *inode = file_inode(file);

	return S_ISCHR(inode->i_mode) && inode->i_rdev == MKDEV(1, 5);
}

long lkl_mmap(unsigned long addr, unsigned long len, unsigned long prot,
	      unsigned long flags, unsigned long fd, unsigned long off)
{
	struct lkl_mmap_args args = { addr, len, prot, flags, off };
	struct fd f;
	long ret;

	if (!len || off & ~PAGE_MASK || !(flags & MAP_TYPE))
		return -EINVAL;
	if (len > lkl_memory_end)
		return -ENOMEM;
	if (flags & MAP_ANONYMOUS)
		return lkl_mmap_place(&args);
	f = fdget(fd);
	if (!f.file)
		return -EBADF;
	if (lkl_mmap_is_dev_zero(f.file))
		ret = lkl_mmap_place(&args);
	else
		ret = lkl_filemap_mmap(f.file, &args);
	fdput(f);
	return ret;
}

/*
 * Handles a range that overlaps a mapping with several users. The memory of that
 * mapping stays; the pages before and after it are unmapped.
 */
static void lkl_munmap_around(struct lkl_filemap *map, unsigned long addr, unsigned long len)
{
	unsigned long end = addr + len;

	if (addr <= map->start && end >= lkl_filemap_end(map))
		map->users--;
	lkl_filemap_write_back(map);
	if (addr < map->start)
		lkl_munmap(addr, map->start - addr);
	if (end > lkl_filemap_end(map))
		lkl_munmap(lkl_filemap_end(map), end - lkl_filemap_end(map));
}

long lkl_munmap(unsigned long addr, unsigned long len)
{
	struct lkl_filemap *map;
	int err;

	if (addr & ~PAGE_MASK || !len || len > lkl_memory_end || addr > lkl_memory_end - len)
		return -EINVAL;
	len = PAGE_ALIGN(len);
	lkl_stack_unmapped(addr, len);
	list_for_each_entry(map, &lkl_filemaps, list) {
		if (map->users > 1 && lkl_filemap_overlaps(map, addr, len)) {
			lkl_munmap_around(map, addr, len);
			return 0;
		}
	}
	err = lkl_filemap_forget(addr, len);
	if (!err)
		lkl_arena_free(addr >> PAGE_SHIFT, lkl_pages(len));
	return err;
}

/* Copies @had pages to the @wanted pages from @to on, and frees the old ones. */
static long lkl_mremap_move(unsigned long first, unsigned long had, unsigned long to,
			    unsigned long wanted)
{
	memcpy(pfn_to_virt(to), pfn_to_virt(first), min(had, wanted) << PAGE_SHIFT);
	lkl_arena_free(first, had);
	return to << PAGE_SHIFT;
}

/* MREMAP_FIXED: the new place must not overlap the old one. */
static long lkl_mremap_fixed(unsigned long first, unsigned long had, unsigned long addr,
			     unsigned long wanted)
{
	unsigned long to = addr >> PAGE_SHIFT;

	if (addr & ~PAGE_MASK || (to < first + had && first < to + wanted))
		return -EINVAL;
	if (lkl_filemap_forget(addr, wanted << PAGE_SHIFT) ||
	    !lkl_arena_claim(to, wanted, false))
		return -ENOMEM;
	return lkl_mremap_move(first, had, to, wanted);
}

long lkl_mremap(unsigned long addr, unsigned long old, unsigned long new,
		unsigned long flags, unsigned long to)
{
	unsigned long first = addr >> PAGE_SHIFT;
	unsigned long had = lkl_pages(old), wanted = lkl_pages(new), moved;

	if (addr & ~PAGE_MASK || !new || !old || new > lkl_memory_end)
		return -EINVAL;
	if (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED))
		return -EINVAL;
	if (flags & MREMAP_FIXED && !(flags & MREMAP_MAYMOVE))
		return -EINVAL;
	if (!lkl_arena_mapped(first, had))
		return -EFAULT;
	/* A shared mapping of a file cannot move, because its users know the address. */
	if ((flags & MREMAP_FIXED || wanted > had) && lkl_filemap_find(addr, old))
		return -ENOMEM;
	if (flags & MREMAP_FIXED)
		return lkl_mremap_fixed(first, had, to, wanted);
	if (wanted <= had) {
		if (wanted < had)
			lkl_munmap((first + wanted) << PAGE_SHIFT, (had - wanted) << PAGE_SHIFT);
		return addr;
	}
	/* In place, if the pages that follow are unused. */
	if (lkl_arena_claim(first + had, wanted - had, true))
		return addr;
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	moved = lkl_arena_alloc(wanted);
	return moved ? lkl_mremap_move(first, had, moved, wanted) : -ENOMEM;
}

/* Checks the arguments. Only write access to shared mappings has an effect. */
long lkl_mprotect(unsigned long addr, unsigned long len, unsigned long prot)
{
	const unsigned long known = PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM |
				    PROT_GROWSDOWN | PROT_GROWSUP;
	struct lkl_filemap *map;

	if (addr & ~PAGE_MASK || prot & ~known)
		return -EINVAL;
	if (!len)
		return 0;
	if (!lkl_mmap_is_mapped(addr, len))
		return -ENOMEM;
	if (!(prot & PROT_WRITE))
		return 0;
	list_for_each_entry(map, &lkl_filemaps, list) {
		if (!lkl_filemap_overlaps(map, addr, len))
			continue;
		if (!map->writable && !(map->file->f_mode & FMODE_WRITE))
			return -EACCES;
		lkl_filemap_make_writable(map, map->file);
	}
	return 0;
}

/* mlock(), mlock2() and munlock(): memory is never paged out. */
long lkl_mlock(unsigned long addr, unsigned long len)
{
	len = PAGE_ALIGN(len + offset_in_page(addr));
	return !len || lkl_mmap_is_mapped(addr & PAGE_MASK, len) ? 0 : -ENOMEM;
}

static bool lkl_madvise_is_known(int advice)
{
	if (advice == MADV_REMOVE)
		return false;
	return (advice >= 0 && advice <= MADV_DONTNEED) ||
	       (advice >= MADV_FREE && advice <= MADV_COLLAPSE);
}

long lkl_madvise(unsigned long addr, unsigned long len, int advice)
{
	if (addr & ~PAGE_MASK || !lkl_madvise_is_known(advice))
		return -EINVAL;
	if (!len)
		return 0;
	if (!lkl_mmap_is_mapped(addr, len))
		return -ENOMEM;
	/* The only advice with an effect that a program can rely on: zeroed memory. */
	if ((advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED) &&
	    !lkl_filemap_find(addr, len))
		memset((void *)addr, 0, PAGE_ALIGN(len));
	return 0;
}

long lkl_msync(unsigned long addr, unsigned long len, int flags)
{
	struct lkl_filemap *map;
	int err = 0, e;

	if (addr & ~PAGE_MASK || flags & ~(MS_ASYNC | MS_SYNC | MS_INVALIDATE))
		return -EINVAL;
	if (flags & MS_ASYNC && flags & MS_SYNC)
		return -EINVAL;
	if (!len)
		return 0;
	if (!lkl_mmap_is_mapped(addr, len))
		return -ENOMEM;
	list_for_each_entry(map, &lkl_filemaps, list) {
		if (!lkl_filemap_overlaps(map, addr, len))
			continue;
		e = lkl_filemap_write_back(map);
		if (!e && flags & MS_SYNC)
			e = vfs_fsync(map->file, 0);
		err = err ?: e;
	}
	return err;
}
