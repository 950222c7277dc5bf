// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmap and its kin. There are no page tables: memory is readable and writable, protections are accepted and not
 * enforced. A file is read into memory when it is mapped; a shared mapping is written back by msync, munmap and the
 * guest's end, and mappings of the same part of a file share their memory.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/mman.h>
#include <linux/slab.h>
#include <linux/syscalls.h>
#include <asm/arena.h>
#include <asm/lkl.h>

/* A shared mapping of a file. */
struct shared {
	struct list_head list;
	struct file *file;
	unsigned long start, len;
	loff_t offset;
	unsigned int users;
	bool writable;
};
static LIST_HEAD(shared_list);

static unsigned long npages(unsigned long len)
{
	return PAGE_ALIGN(len) >> PAGE_SHIFT;
}

/* Writes what a shared mapping holds back to its file, up to the file's end. */
static int write_back(struct shared *s)
{
	loff_t pos = s->offset, size = i_size_read(file_inode(s->file));
	unsigned long done = 0, len;

	if (!s->writable || size <= pos)
		return 0;
	len = min_t(loff_t, s->len, size - pos);
	while (done < len) {
		ssize_t n = kernel_write(s->file, (void *)(s->start + done), len - done, &pos);

		if (n <= 0)
			return n ?: -EIO;
		done += n;
	}
	return 0;
}

static struct shared *shared_at(unsigned long start, unsigned long len)
{
	struct shared *s;

	list_for_each_entry(s, &shared_list, list)
		if (s->start < start + len && start < s->start + PAGE_ALIGN(s->len))
			return s;
	return NULL;
}

static struct shared *same_mapping(struct file *file, loff_t offset, unsigned long len)
{
	struct shared *s;

	list_for_each_entry(s, &shared_list, list)
		if (file_inode(s->file) == file_inode(file) && s->offset == offset && PAGE_ALIGN(s->len) >= PAGE_ALIGN(len))
			return s;
	return NULL;
}

static int read_file(struct file *file, void *to, unsigned long len, loff_t pos)
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

static long place(unsigned long addr, unsigned long len, unsigned long flags)
{
	unsigned long first;

	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		if (addr & ~PAGE_MASK)
			return -EINVAL;
		if (flags & MAP_FIXED_NOREPLACE && lkl_arena_mapped(addr >> PAGE_SHIFT, 1))
			return -EEXIST;
		return lkl_arena_claim(addr >> PAGE_SHIFT, npages(len)) ? (long)addr : -ENOMEM;
	}
	first = lkl_arena_alloc(npages(len));
	return first ? (long)(first << PAGE_SHIFT) : -ENOMEM;
}

static long map_file(struct file *file, unsigned long addr, unsigned long len, unsigned long prot, unsigned long flags,
		     loff_t offset)
{
	bool share = (flags & MAP_TYPE) != MAP_PRIVATE;
	struct shared *s = NULL;
	long start;
	int err;

	if (!(file->f_mode & FMODE_READ) || (share && prot & PROT_WRITE && !(file->f_mode & FMODE_WRITE)))
		return -EACCES;
	if (!S_ISREG(file_inode(file)->i_mode))
		return -ENODEV;
	if (share) {
		s = flags & MAP_FIXED ? NULL : same_mapping(file, offset, len);
		if (s) {
			s->users++;
			s->writable |= !!(prot & PROT_WRITE);
			return s->start;
		}
		s = kzalloc(sizeof(*s), GFP_KERNEL);
		if (!s)
			return -ENOMEM;
	}
	start = place(addr, len, flags);
	if (start < 0) {
		kfree(s);
		return start;
	}
	err = read_file(file, (void *)start, len, offset);
	if (err) {
		lkl_arena_free(start >> PAGE_SHIFT, npages(len));
		kfree(s);
		return err;
	}
	if (s) {
		*s = (struct shared){
			.file = get_file(file), .start = start, .len = len, .offset = offset, .users = 1,
			.writable = prot & PROT_WRITE,
		};
		list_add(&s->list, &shared_list);
	}
	return start;
}

long lkl_mmap(unsigned long addr, unsigned long len, unsigned long prot, unsigned long flags, unsigned long fd,
	      unsigned long off)
{
	struct fd f;
	long ret;

	if (!len || off & ~PAGE_MASK || !(flags & MAP_TYPE))
		return -EINVAL;
	if (len > lkl_memory_end)
		return -ENOMEM;
	if (flags & MAP_ANONYMOUS)
		return place(addr, len, flags);
	f = fdget(fd);
	if (!f.file)
		return -EBADF;
	/* /dev/zero is anonymous memory by another name. */
	if (S_ISCHR(file_inode(f.file)->i_mode) && file_inode(f.file)->i_rdev == MKDEV(1, 5))
		ret = place(addr, len, flags);
	else
		ret = map_file(f.file, addr, len, prot, flags, off);
	fdput(f);
	return ret;
}

long lkl_munmap(unsigned long addr, unsigned long len)
{
	struct shared *s;

	if (addr & ~PAGE_MASK || !len || len > lkl_memory_end)
		return -EINVAL;
	while ((s = shared_at(addr, len))) {
		write_back(s);
		if (--s->users)
			return 0;
		list_del(&s->list);
		fput(s->file);
		kfree(s);
	}
	lkl_arena_free(addr >> PAGE_SHIFT, npages(len));
	return 0;
}

long lkl_mremap(unsigned long addr, unsigned long old, unsigned long new, unsigned long flags, unsigned long to)
{
	unsigned long first = addr >> PAGE_SHIFT, had = npages(old), wanted = npages(new), moved;

	if (addr & ~PAGE_MASK || !new || !old || flags & ~MREMAP_MAYMOVE || new > lkl_memory_end)
		return -EINVAL;
	if (!lkl_arena_mapped(first, had))
		return -EFAULT;
	if (wanted <= had) {
		if (wanted < had)
			lkl_munmap((first + wanted) << PAGE_SHIFT, (had - wanted) << PAGE_SHIFT);
		return addr;
	}
	if (shared_at(addr, old))
		return -ENOMEM;
	/* In place, if what follows is free. */
	if (!lkl_arena_mapped(first + had, 1) && lkl_arena_claim(first + had, wanted - had))
		return addr;
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	moved = lkl_arena_alloc(wanted);
	if (!moved)
		return -ENOMEM;
	memcpy(pfn_to_virt(moved), (void *)addr, had << PAGE_SHIFT);
	lkl_arena_free(first, had);
	return moved << PAGE_SHIFT;
}

long lkl_mprotect(unsigned long addr, unsigned long len, unsigned long prot)
{
	if (addr & ~PAGE_MASK)
		return -EINVAL;
	if (addr + len > lkl_memory_end || addr + len < addr)
		return -ENOMEM;
	return 0;
}

long lkl_madvise(unsigned long addr, unsigned long len, int advice)
{
	if (addr & ~PAGE_MASK)
		return -EINVAL;
	if (!len)
		return 0;
	if (!lkl_arena_mapped(addr >> PAGE_SHIFT, npages(len)))
		return -ENOMEM;
	/* The one advice whose effect a program sees: what is not wanted reads as zero. */
	if (advice == MADV_DONTNEED && !shared_at(addr, len))
		memset((void *)addr, 0, PAGE_ALIGN(len));
	return 0;
}

/* A length of 0 stands for everything: the start program calls so when the program has ended. */
long lkl_msync(unsigned long addr, unsigned long len, int flags)
{
	struct shared *s;
	int err = 0, e;

	if (addr & ~PAGE_MASK)
		return -EINVAL;
	list_for_each_entry(s, &shared_list, list) {
		if (len && (s->start >= addr + len || addr >= s->start + s->len))
			continue;
		e = write_back(s);
		if (!e && flags & MS_SYNC && len)
			e = vfs_fsync(s->file, 0);
		err = err ?: e;
	}
	return err;
}
