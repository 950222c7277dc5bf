// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VMAs of the program. With no page tables nothing needs them for access to
 * memory, but the rest of the kernel asks for them: get_user_pages(), so direct
 * I/O and vmsplice(), and /proc/PID/maps and /proc/PID/mem.
 *
 * pid 1 and the program share one mm, which is never torn down. Adjacent
 * mappings are one VMA. When there is no memory for a VMA, the program can still
 * use the pages; only direct I/O to them fails.
 */
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

static struct vm_area_struct *lkl_vma_create(unsigned long start, unsigned long end,
					     unsigned long flags)
{
	struct vm_area_struct *vma = vm_area_alloc(lkl_mm);

	if (!vma)
		return NULL;
	vma->vm_start = start;
	vma->vm_end = end;
	vma->vm_flags = flags;
	lkl_mm->map_count++;
	lkl_vma_store(start, end, vma);
	return vma;
}

static void lkl_vma_destroy(struct vm_area_struct *vma)
{
	lkl_mm->map_count--;
	vm_area_free(vma);
}

static void lkl_vma_remove_range(unsigned long start, unsigned long end)
{
	unsigned long at = start;
	struct vm_area_struct *vma;
	bool found = false;

	while ((vma = mt_find(&lkl_mm->mm_mt, &at, end - 1))) {
		found = true;
		lkl_usage_remove(lkl_mm, PFN_DOWN(min(end, vma->vm_end) - max(start, vma->vm_start)));
		if (vma->vm_start >= start && vma->vm_end <= end) {
			lkl_vma_destroy(vma);
		} else if (vma->vm_start >= start) {
			vma->vm_start = end;
		} else {
			/* The range may lie in the middle: split the VMA. */
			if (vma->vm_end > end &&
			    !lkl_vma_create(end, vma->vm_end, vma->vm_flags))
				lkl_vma_store(end, vma->vm_end, NULL);
			vma->vm_end = start;
		}
	}
	if (found)
		lkl_vma_store(start, end, NULL);
}

/* The VMA that contains an address, if a new mapping of data can be merged with it. */
static struct vm_area_struct *lkl_vma_mergeable(unsigned long addr)
{
	struct vm_area_struct *vma = find_vma(lkl_mm, addr);

	return vma && vma->vm_flags == LKL_VMA_DATA ? vma : NULL;
}

void lkl_vma_add(unsigned long first, unsigned long n)
{
	unsigned long start = first << PAGE_SHIFT, end = start + (n << PAGE_SHIFT);
	struct vm_area_struct *left, *right;

	lkl_vma_remove_range(start, end);
	left = lkl_vma_mergeable(start - 1);
	right = lkl_vma_mergeable(end);
	if (!left && !right) {
		if (lkl_vma_create(start, end, LKL_VMA_DATA))
			lkl_usage_add(lkl_mm, n);
		return;
	}
	lkl_usage_add(lkl_mm, n);
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
	}
	lkl_vma_store(start, end, left ?: right);
}

void lkl_vma_remove(unsigned long first, unsigned long n)
{
	lkl_vma_remove_range(first << PAGE_SHIFT, (first + n) << PAGE_SHIFT);
}

static bool lkl_vma_add_section(char *start, char *end, unsigned long flags)
{
	return lkl_vma_create((unsigned long)start, PAGE_ALIGN((unsigned long)end), flags);
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
