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
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/syscalls.h>
#include <uapi/linux/memfd.h>
#include <asm/arena.h>
#include <asm/lkl.h>

extern char _end[];

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

static unsigned long end_of(const struct shared *s)
{
	return s->start + PAGE_ALIGN(s->len);
}

static struct shared *shared_at(unsigned long start, unsigned long len)
{
	struct shared *s;

	list_for_each_entry(s, &shared_list, list)
		if (s->start < start + len && start < end_of(s))
			return s;
	return NULL;
}

/* Written to through this file from now on, which may be another than the one that it was first mapped from. */
static void make_writable(struct shared *s, struct file *file)
{
	if (s->writable)
		return;
	get_file(file);
	fput(s->file);
	s->file = file;
	s->writable = true;
}

static void drop(struct shared *s)
{
	list_del(&s->list);
	fput(s->file);
	kfree(s);
}

/* Takes the part from..to, whole pages, out of a mapping that has one user. */
static int cut(struct shared *s, unsigned long from, unsigned long to)
{
	struct shared *rest;

	if (from <= s->start && to >= end_of(s)) {
		drop(s);
		return 0;
	}
	if (from > s->start && to < end_of(s)) {
		rest = kmemdup(s, sizeof(*s), GFP_KERNEL);
		if (!rest)
			return -ENOMEM;
		get_file(rest->file);
		list_add(&rest->list, &shared_list);
		s->len = from - s->start;
		s = rest;
		from = s->start;
	}
	if (from > s->start) {
		s->len = from - s->start;
	} else {
		s->offset += to - s->start;
		s->len -= to - s->start;
		s->start = to;
	}
	return 0;
}

/*
 * Writes back and forgets the shared mappings of a range whose memory will be something else. Memory that others share
 * stays theirs: -EBUSY.
 */
static int forget_shared(unsigned long addr, unsigned long len)
{
	struct shared *s;
	int err;

	while ((s = shared_at(addr, len))) {
		if (s->users > 1)
			return -EBUSY;
		write_back(s);
		err = cut(s, addr, addr + PAGE_ALIGN(len));
		if (err)
			return err;
	}
	return 0;
}

/* Whether a program may name these pages: the image's own, or those that it has mapped. */
static bool is_mapped(unsigned long addr, unsigned long len)
{
	unsigned long first = addr >> PAGE_SHIFT, end = (unsigned long)_end;

	if (addr >= (unsigned long)lkl_image_start && addr < end && len <= PAGE_ALIGN(end) - addr)
		return true;
	return addr + len >= addr && lkl_arena_mapped(first, npages(len));
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
		if (flags & MAP_FIXED_NOREPLACE && lkl_arena_touches(addr >> PAGE_SHIFT, npages(len)))
			return -EEXIST;
		if (forget_shared(addr, len))
			return -ENOMEM;
		return lkl_arena_claim(addr >> PAGE_SHIFT, npages(len), flags & MAP_FIXED_NOREPLACE) ? (long)addr : -ENOMEM;
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
	if (!S_ISREG(file_inode(file)->i_mode) || !file->f_op->mmap)
		return -ENODEV;
	if (share) {
		s = flags & MAP_FIXED ? NULL : same_mapping(file, offset, len);
		if (s) {
			s->users++;
			if (prot & PROT_WRITE)
				make_writable(s, file);
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
	int err;

	if (addr & ~PAGE_MASK || !len || len > lkl_memory_end || addr > lkl_memory_end - len)
		return -EINVAL;
	len = PAGE_ALIGN(len);
	list_for_each_entry(s, &shared_list, list) {
		if (s->users == 1 || s->start >= addr + len || addr >= end_of(s))
			continue;
		/* One of its users gives it up, the memory stays; what lies beside it goes. */
		if (addr <= s->start && addr + len >= end_of(s))
			s->users--;
		write_back(s);
		if (addr < s->start)
			lkl_munmap(addr, s->start - addr);
		if (addr + len > end_of(s))
			lkl_munmap(end_of(s), addr + len - end_of(s));
		return 0;
	}
	err = forget_shared(addr, len);
	if (!err)
		lkl_arena_free(addr >> PAGE_SHIFT, npages(len));
	return err;
}

/* Moves had pages to other ones, of which there are wanted. */
static long move(unsigned long first, unsigned long had, unsigned long to, unsigned long wanted)
{
	memcpy(pfn_to_virt(to), pfn_to_virt(first), min(had, wanted) << PAGE_SHIFT);
	lkl_arena_free(first, had);
	return to << PAGE_SHIFT;
}

static long move_to(unsigned long first, unsigned long had, unsigned long to, unsigned long wanted)
{
	unsigned long there = to >> PAGE_SHIFT;

	if (to & ~PAGE_MASK || (there < first + had && first < there + wanted))
		return -EINVAL;
	if (forget_shared(to, wanted << PAGE_SHIFT) || !lkl_arena_claim(there, wanted, false))
		return -ENOMEM;
	return move(first, had, there, wanted);
}

long lkl_mremap(unsigned long addr, unsigned long old, unsigned long new, unsigned long flags, unsigned long to)
{
	unsigned long first = addr >> PAGE_SHIFT, had = npages(old), wanted = npages(new), moved;

	if (addr & ~PAGE_MASK || !new || !old || flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED) || new > lkl_memory_end)
		return -EINVAL;
	if (flags & MREMAP_FIXED && !(flags & MREMAP_MAYMOVE))
		return -EINVAL;
	if (!lkl_arena_mapped(first, had))
		return -EFAULT;
	if ((flags & MREMAP_FIXED || wanted > had) && shared_at(addr, old))
		return -ENOMEM;
	if (flags & MREMAP_FIXED)
		return move_to(first, had, to, wanted);
	if (wanted <= had) {
		if (wanted < had)
			lkl_munmap((first + wanted) << PAGE_SHIFT, (had - wanted) << PAGE_SHIFT);
		return addr;
	}
	/* In place, if what follows is free. */
	if (lkl_arena_claim(first + had, wanted - had, true))
		return addr;
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	moved = lkl_arena_alloc(wanted);
	return moved ? move(first, had, moved, wanted) : -ENOMEM;
}

/* Protections are accepted, and not enforced. */
long lkl_mprotect(unsigned long addr, unsigned long len, unsigned long prot)
{
	struct shared *s;

	if (addr & ~PAGE_MASK || prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM | PROT_GROWSDOWN | PROT_GROWSUP))
		return -EINVAL;
	if (!len)
		return 0;
	if (!is_mapped(addr, len))
		return -ENOMEM;
	list_for_each_entry(s, &shared_list, list) {
		if (!(prot & PROT_WRITE) || s->start >= addr + len || addr >= end_of(s))
			continue;
		if (!s->writable && !(s->file->f_mode & FMODE_WRITE))
			return -EACCES;
		make_writable(s, s->file);
	}
	return 0;
}

/* All memory is there, always. */
long lkl_mlock(unsigned long addr, unsigned long len)
{
	len = PAGE_ALIGN(len + offset_in_page(addr));
	return !len || is_mapped(addr & PAGE_MASK, len) ? 0 : -ENOMEM;
}

long lkl_madvise(unsigned long addr, unsigned long len, int advice)
{
	if (addr & ~PAGE_MASK || advice < 0 || advice > MADV_COLLAPSE || advice == MADV_REMOVE ||
	    (advice > MADV_WILLNEED + 1 && advice < MADV_FREE))
		return -EINVAL;
	if (!len)
		return 0;
	if (!is_mapped(addr, len))
		return -ENOMEM;
	/* The one advice whose effect a program sees: what is not wanted reads as zero. */
	if ((advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED) && !shared_at(addr, len))
		memset((void *)addr, 0, PAGE_ALIGN(len));
	return 0;
}

long lkl_msync(unsigned long addr, unsigned long len, int flags)
{
	struct shared *s;
	int err = 0, e;

	if (addr & ~PAGE_MASK || flags & ~(MS_ASYNC | MS_SYNC | MS_INVALIDATE) || (flags & MS_ASYNC && flags & MS_SYNC))
		return -EINVAL;
	if (!len)
		return 0;
	if (!is_mapped(addr, len))
		return -ENOMEM;
	list_for_each_entry(s, &shared_list, list) {
		if (s->start >= addr + len || addr >= end_of(s))
			continue;
		e = write_back(s);
		if (!e && flags & MS_SYNC)
			e = vfs_fsync(s->file, 0);
		err = err ?: e;
	}
	return err;
}

/* A file in memory without a name. Seals belong to a file system that needs an MMU: F_ADD_SEALS is EINVAL. */
long lkl_memfd_create(const char __user *uname, unsigned int flags)
{
	char name[NAME_MAX + 1] = "memfd:";
	const size_t prefix = sizeof("memfd:") - 1;
	struct file *file;
	long n;
	int fd;

	if (flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING))
		return -EINVAL;
	n = strncpy_from_user(name + prefix, uname, sizeof(name) - prefix);
	if (n < 0)
		return n;
	if (n == sizeof(name) - prefix)
		return -EINVAL;
	fd = get_unused_fd_flags(flags & MFD_CLOEXEC ? O_CLOEXEC : 0);
	if (fd < 0)
		return fd;
	/* Its file system, ramfs, cannot begin with nothing. */
	file = shmem_file_setup(name, PAGE_SIZE, VM_NORESERVE);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
	file->f_flags |= O_LARGEFILE;
	vfs_truncate(&file->f_path, 0);
	fd_install(fd, file);
	return fd;
}

/* The program has ended: its mappings would keep files open. */
void lkl_unmap_files(void)
{
	struct shared *s, *next;

	list_for_each_entry_safe(s, next, &shared_list, list) {
		write_back(s);
		drop(s);
	}
}
