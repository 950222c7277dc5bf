// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VMAs of the program. With no page tables nothing needs them for access to
 * memory, but the rest of the kernel asks for them: get_user_pages(), so direct
 * I/O and vmsplice(), and /proc/PID/maps and /proc/PID/mem.
 *
 * pid 1 and the program share one mm, which is never torn down. When there is no memory
 * for a VMA, the program can still use the pages; only direct I/O to them fails.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/maple_tree.h>
#include <linux/mm.h>
#include <asm/arena.h>
#include <asm/lkl.h>
#include <asm/page.h>
#include <asm/sections.h>

#define LKL_VMA_DATA (VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE)

static struct mm_struct *lkl_mm;

/* Removing a VMA must not fail, and the tree's nodes are small: __GFP_NOFAIL. */
static void lkl_vma_store(unsigned long start, unsigned long end, struct vm_area_struct *vma)
{
	MA_STATE(mas, &lkl_mm->mm_mt, start, end - 1);

	mas_store_gfp(&mas, vma, GFP_KERNEL | __GFP_NOFAIL);
}

/* The properties of a mapping. Adjacent mappings with the same ones are one VMA. */
struct lkl_vma_kind {
	unsigned long flags;
	struct file *file;	/* of a shared mapping */
	pgoff_t pgoff;		/* of the start, in the file */
};

static struct lkl_vma_kind lkl_vma_kind_at(const struct vm_area_struct *vma, unsigned long addr)
{
	struct lkl_vma_kind kind = { vma->vm_flags, vma->vm_file, 0 };

	if (kind.file)
		kind.pgoff = vma->vm_pgoff + PFN_DOWN(addr - vma->vm_start);
	return kind;
}

static struct vm_area_struct *lkl_vma_create(unsigned long start, unsigned long end,
					     const struct lkl_vma_kind *kind)
{
	struct vm_area_struct *vma = vm_area_alloc(lkl_mm);

	if (!vma)
		return NULL;
	vma->vm_start = start;
	vma->vm_end = end;
	vma->vm_flags = kind->flags;
	vma->vm_pgoff = kind->pgoff;
	vma->vm_file = kind->file;
	if (vma->vm_file)
		get_file(vma->vm_file);
	lkl_mm->map_count++;
	lkl_vma_store(start, end, vma);
	return vma;
}

static void lkl_vma_destroy(struct vm_area_struct *vma)
{
	if (vma->vm_file)
		fput(vma->vm_file);
	lkl_mm->map_count--;
	vm_area_free(vma);
}

/* Removes a part of a VMA. It may lie in the middle. */
static void lkl_vma_cut(struct vm_area_struct *vma, unsigned long start, unsigned long end)
{
	struct lkl_vma_kind rest = lkl_vma_kind_at(vma, end);

	if (vma->vm_start >= start && vma->vm_end <= end) {
		lkl_vma_destroy(vma);
	} else if (vma->vm_start >= start) {
		vma->vm_pgoff = rest.pgoff;
		vma->vm_start = end;
	} else {
		if (vma->vm_end > end && !lkl_vma_create(end, vma->vm_end, &rest)) {
			lkl_usage_remove(vma, PFN_DOWN(vma->vm_end - end));
			lkl_vma_store(end, vma->vm_end, NULL);
		}
		vma->vm_end = start;
	}
}

static void lkl_vma_remove_range(unsigned long start, unsigned long end)
{
	unsigned long at = start;
	struct vm_area_struct *vma;
	bool found = false;

	while ((vma = mt_find(&lkl_mm->mm_mt, &at, end - 1))) {
		found = true;
		lkl_usage_remove(vma, PFN_DOWN(min(end, vma->vm_end) - max(start, vma->vm_start)));
		lkl_vma_cut(vma, start, end);
	}
	if (found)
		lkl_vma_store(start, end, NULL);
}

/* The VMA that contains an address, if it is like one of this kind that begins there. */
static struct vm_area_struct *lkl_vma_alike(unsigned long addr, const struct lkl_vma_kind *kind)
{
	struct vm_area_struct *vma = find_vma(lkl_mm, addr);

	if (!vma || vma->vm_flags != kind->flags || vma->vm_file != kind->file ||
	    lkl_vma_kind_at(vma, addr).pgoff != kind->pgoff)
		return NULL;
	return vma;
}

/* Replaces everything in a range by a mapping, which is merged with its neighbors. */
static void lkl_vma_put(unsigned long start, unsigned long end, const struct lkl_vma_kind *kind)
{
	struct lkl_vma_kind before = *kind, behind = *kind;
	unsigned long n = PFN_DOWN(end - start);
	struct vm_area_struct *left, *right;

	lkl_vma_remove_range(start, end);
	if (kind->file) {
		before.pgoff--;
		behind.pgoff += n;
	}
	left = lkl_vma_alike(start - PAGE_SIZE, &before);
	right = lkl_vma_alike(end, &behind);
	if (!left && !right) {
		left = lkl_vma_create(start, end, kind);
		if (left)
			lkl_usage_add(left, n);
		return;
	}
	lkl_usage_add(left ?: right, n);
	if (left) {
		start = left->vm_start;
		if (right) {
			end = right->vm_end;
			lkl_vma_destroy(right);
		}
		left->vm_end = end;
	} else {
		end = right->vm_end;
		right->vm_start = start;
		right->vm_pgoff = kind->pgoff;
	}
	lkl_vma_store(start, end, left ?: right);
}

void lkl_vma_add(unsigned long first, unsigned long n)
{
	struct lkl_vma_kind kind = { LKL_VMA_DATA | lkl_mm->def_flags };

	lkl_vma_put(first << PAGE_SHIFT, (first + n) << PAGE_SHIFT, &kind);
}

void lkl_vma_remove(unsigned long first, unsigned long n)
{
	lkl_vma_remove_range(first << PAGE_SHIFT, (first + n) << PAGE_SHIFT);
}

/*
 * Protections are not enforced, so they follow from the mode of the file. With VM_SHARED,
 * /proc/PID/maps would show another letter than with an MMU.
 */
void lkl_vma_share(unsigned long first, unsigned long n, struct file *file, pgoff_t pgoff)
{
	struct lkl_vma_kind kind = {
		VM_READ | VM_MAYREAD | VM_MAYSHARE | lkl_mm->def_flags, file, pgoff
	};

	if (file->f_mode & FMODE_WRITE)
		kind.flags |= VM_WRITE | VM_MAYWRITE;
	mmap_write_lock(lkl_mm);
	lkl_vma_put(first << PAGE_SHIFT, (first + n) << PAGE_SHIFT, &kind);
	mmap_write_unlock(lkl_mm);
}

int lkl_vma_lock(unsigned long start, unsigned long end, bool lock)
{
	struct vm_area_struct *vma;
	struct lkl_vma_kind kind;
	unsigned long next;

	for (; start < end; start = next) {
		vma = find_vma(lkl_mm, start);
		if (!vma)
			return -ENOMEM;
		next = min(end, vma->vm_end);
		kind = lkl_vma_kind_at(vma, start);
		if (!(kind.flags & VM_LOCKED) == !lock)
			continue;
		kind.flags ^= VM_LOCKED;
		if (kind.file)
			get_file(kind.file);
		lkl_vma_put(start, next, &kind);
		if (kind.file)
			fput(kind.file);
	}
	return 0;
}

void lkl_vma_lock_all(bool lock)
{
	unsigned long at = 0;
	struct vm_area_struct *vma;

	while ((vma = mt_find(&lkl_mm->mm_mt, &at, ULONG_MAX)))
		lkl_vma_lock(vma->vm_start, vma->vm_end, lock);
}

unsigned long lkl_vma_locked(unsigned long start, unsigned long end)
{
	unsigned long at = start, n = 0;
	struct vm_area_struct *vma;

	while ((vma = mt_find(&lkl_mm->mm_mt, &at, end - 1)))
		if (vma->vm_flags & VM_LOCKED)
			n += PFN_DOWN(min(end, vma->vm_end) - max(start, vma->vm_start));
	return n;
}

static bool lkl_vma_add_section(char *start, char *end, unsigned long flags)
{
	struct lkl_vma_kind kind = { flags };

	return lkl_vma_create((unsigned long)start, PAGE_ALIGN((unsigned long)end), &kind);
}

/* Enters the image, with the protections that the tender gives it. */
int lkl_vma_init(struct mm_struct *mm)
{
	bool ok;

	lkl_mm = mm;
	mmap_write_lock(mm);
	ok = lkl_vma_add_section(lkl_image_start, lkl_text_end,
				 VM_READ | VM_EXEC | VM_MAYREAD | VM_MAYEXEC) &&
	     lkl_vma_add_section(lkl_text_end, __end_rodata, VM_READ | VM_MAYREAD) &&
	     lkl_vma_add_section(lkl_rodata_end, lkl_initdata_start, LKL_VMA_DATA) &&
	     lkl_vma_add_section(lkl_initdata_end, _end, LKL_VMA_DATA);
	lkl_usage_init(mm);
	mmap_write_unlock(mm);
	return ok ? 0 : -ENOMEM;
}
