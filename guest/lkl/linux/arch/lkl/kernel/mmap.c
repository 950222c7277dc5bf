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
	if (lkl_shared_evict(first, first + n))
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

/* Only files have MAP_SHARED_VALIDATE. There are no huge pages. */
static long lkl_mmap_anonymous(const struct lkl_mmap_args *args)
{
	unsigned long type = args->flags & MAP_TYPE;

	if (type != MAP_PRIVATE && (type != MAP_SHARED || args->flags & MAP_GROWSDOWN))
		return -EINVAL;
	return args->flags & MAP_HUGETLB ? -ENOMEM : lkl_mmap_place(args);
}

static long lkl_mmap_file(unsigned long fd, const struct lkl_mmap_args *args)
{
	struct fd f = fdget(fd);
	long ret;

	if (!f.file)
		return -EBADF;
	ret = args->flags & MAP_HUGETLB || !args->len ? -EINVAL : lkl_filemap_mmap(f.file, args);
	fdput(f);
	return ret;
}

/* Unknown flags are ignored, as with an MMU, except with MAP_SHARED_VALIDATE. */
long lkl_mmap(unsigned long addr, unsigned long len, unsigned long prot,
	      unsigned long flags, unsigned long fd, unsigned long off)
{
	struct lkl_mmap_args args = { addr, len, prot, flags, off };
	long ret;

	if (off & ~PAGE_MASK || (flags & MAP_ANONYMOUS && !len))
		return -EINVAL;
	if (len > lkl_memory_end)
		return -ENOMEM;
	ret = lkl_mlock_check_mmap(&args);
	if (ret)
		return ret;
	ret = flags & MAP_ANONYMOUS ? lkl_mmap_anonymous(&args) : lkl_mmap_file(fd, &args);
	if (ret > 0 && flags & MAP_LOCKED)
		lkl_mlock_range(ret, ret + PAGE_ALIGN(len), true);
	return ret;
}

long lkl_munmap(unsigned long addr, unsigned long len)
{
	unsigned long first = addr >> PAGE_SHIFT, n;

	if (addr & ~PAGE_MASK || !len || len > lkl_memory_end || addr > lkl_memory_end - len)
		return -EINVAL;
	n = lkl_pages(len);
	lkl_stack_unmapped(addr, PAGE_ALIGN(len));
	if (lkl_shared_next(first, first + n) < first + n)
		lkl_shared_munmap(first, first + n);
	else
		lkl_arena_free(first, n);
	return 0;
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
	if (lkl_shared_evict(to, to + wanted) || !lkl_arena_claim(to, wanted, false))
		return -ENOMEM;
	return lkl_mremap_move(first, had, to, wanted);
}

static long lkl_mremap_unlocked(unsigned long addr, unsigned long old, unsigned long new,
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
	if ((flags & MREMAP_FIXED || wanted > had) &&
	    lkl_shared_next(first, first + had) < first + had)
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

/* The new pages of a locked mapping are locked too. */
long lkl_mremap(unsigned long addr, unsigned long old, unsigned long new,
		unsigned long flags, unsigned long to)
{
	unsigned long had = lkl_pages(old), wanted = lkl_pages(new);
	bool locked = lkl_vma_locked(addr, addr + PAGE_SIZE);
	long ret;

	if (locked && wanted > had && !lkl_mlock_has_room(wanted - had))
		return -EAGAIN;
	ret = lkl_mremap_unlocked(addr, old, new, flags, to);
	if (ret > 0 && locked)
		lkl_mlock_range(ret, ret + PAGE_ALIGN(new), true);
	return ret;
}

/* Checks the arguments. Only write access to shared mappings has an effect. */
long lkl_mprotect(unsigned long addr, unsigned long len, unsigned long prot)
{
	const unsigned long known = PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM |
				    PROT_GROWSDOWN | PROT_GROWSUP;
	unsigned long first = addr >> PAGE_SHIFT;

	if (addr & ~PAGE_MASK || prot & ~known)
		return -EINVAL;
	if (!len)
		return 0;
	if (!lkl_mmap_is_mapped(addr, len))
		return -ENOMEM;
	return prot & PROT_WRITE ? lkl_shared_mprotect(first, first + lkl_pages(len)) : 0;
}

static bool lkl_madvise_is_known(int advice)
{
	if (advice == MADV_REMOVE)
		return false;
	return (advice >= 0 && advice <= MADV_DONTNEED) ||
	       (advice >= MADV_FREE && advice <= MADV_COLLAPSE);
}

/* Clears private memory. Shared pages keep the content of their file. */
static void lkl_madvise_zero(unsigned long first, unsigned long end)
{
	unsigned long next;

	for (; first < end; first = next + 1) {
		next = lkl_shared_next(first, end);
		memset(pfn_to_virt(first), 0, (next - first) << PAGE_SHIFT);
	}
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
	if (advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED)
		lkl_madvise_zero(addr >> PAGE_SHIFT, (addr >> PAGE_SHIFT) + lkl_pages(len));
	return 0;
}

long lkl_msync(unsigned long addr, unsigned long len, int flags)
{
	unsigned long first = addr >> PAGE_SHIFT;

	if (addr & ~PAGE_MASK || flags & ~(MS_ASYNC | MS_SYNC | MS_INVALIDATE))
		return -EINVAL;
	if (flags & MS_ASYNC && flags & MS_SYNC)
		return -EINVAL;
	if (!len)
		return 0;
	if (!lkl_mmap_is_mapped(addr, len))
		return -ENOMEM;
	return lkl_shared_msync(first, first + lkl_pages(len), flags & MS_SYNC);
}

/*
 * The calls that write a file to its disk, or free parts of it. The file system has to
 * know the changes that the program has made through mappings.
 */
long lkl_fsync(unsigned int fd)
{
	long err = lkl_shared_sync_file(fd);

	return sys_fsync(fd) ?: err;
}

long lkl_fdatasync(unsigned int fd)
{
	long err = lkl_shared_sync_file(fd);

	return sys_fdatasync(fd) ?: err;
}

long lkl_sync(void)
{
	lkl_shared_sync_all(NULL);
	return sys_sync();
}

long lkl_syncfs(int fd)
{
	struct fd file = fdget(fd);
	long err = 0;

	if (file.file)
		err = lkl_shared_sync_all(file_inode(file.file)->i_sb);
	fdput(file);
	return sys_syncfs(fd) ?: err;
}

long lkl_sync_file_range(int fd, loff_t offset, loff_t bytes, unsigned int flags)
{
	long err = lkl_shared_sync_file(fd);

	return sys_sync_file_range(fd, offset, bytes, flags) ?: err;
}

long lkl_fallocate(int fd, int mode, loff_t offset, loff_t len)
{
	lkl_shared_sync_file(fd);
	return sys_fallocate(fd, mode, offset, len);
}

long lkl_ftruncate(unsigned int fd, unsigned long length)
{
	lkl_shared_sync_file(fd);
	return sys_ftruncate(fd, length);
}

long lkl_truncate(const char __user *path, long length)
{
	lkl_shared_sync_all(NULL);
	return sys_truncate(path, length);
}

/* A file server copies what it has, not what the guest's page cache has. */
long lkl_copy_file_range(int from, loff_t __user *from_pos, int to, loff_t __user *to_pos,
			 size_t len, unsigned int flags)
{
	long err = lkl_shared_sync_file(from);

	if (err)
		return err;
	lkl_shared_sync_file(to);
	return sys_copy_file_range(from, from_pos, to, to_pos, len, flags);
}
