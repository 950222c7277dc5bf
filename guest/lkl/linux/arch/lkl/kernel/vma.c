// SPDX-License-Identifier: GPL-2.0-only
/*
 * What of memory is mapped, as the rest of the kernel asks for it: direct input and output and vmsplice (get_user_pages),
 * /proc/PID/maps and mem. pid 1 and the program share it and never take it down.
 *
 * Mappings side by side are one. What there is no memory to write down is missing here, and only that: the program has it,
 * but it cannot be read into directly.
 */
#include <linux/maple_tree.h>
#include <linux/mm.h>
#include <asm/arena.h>
#include <asm/lkl.h>
#include <asm/page.h>

#define DATA (VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE)

extern char lkl_image_start[], lkl_text_end[], __end_rodata[], lkl_rodata_end[], lkl_initdata_start[], lkl_initdata_end[], _end[];

static struct mm_struct *mm;

/* Small, and to forget something must not fail. */
static void store(unsigned long start, unsigned long end, struct vm_area_struct *vma)
{
	MA_STATE(mas, &mm->mm_mt, start, end - 1);

	mas_store_gfp(&mas, vma, GFP_KERNEL | __GFP_NOFAIL);
}

static struct vm_area_struct *add(unsigned long start, unsigned long end, unsigned long flags)
{
	struct vm_area_struct *vma = vm_area_alloc(mm);

	if (!vma)
		return NULL;
	vma->vm_start = start;
	vma->vm_end = end;
	vma->vm_flags = flags;
	mm->map_count++;
	store(start, end, vma);
	return vma;
}

static void forget(struct vm_area_struct *vma)
{
	mm->map_count--;
	vm_area_free(vma);
}

static void remove(unsigned long start, unsigned long end)
{
	unsigned long at = start;
	struct vm_area_struct *vma;
	bool any = false;

	while ((vma = mt_find(&mm->mm_mt, &at, end - 1))) {
		any = true;
		if (vma->vm_start >= start && vma->vm_end <= end) {
			forget(vma);
		} else if (vma->vm_start >= start) {
			vma->vm_start = end;
		} else {
			/* In the middle: the rest is one of its own. */
			if (vma->vm_end > end && !add(end, vma->vm_end, vma->vm_flags))
				store(end, vma->vm_end, NULL);
			vma->vm_end = start;
		}
	}
	if (any)
		store(start, end, NULL);
}

/* What ends or begins at an address and can grow, seen from its last or first byte. */
static struct vm_area_struct *neighbour(unsigned long addr)
{
	struct vm_area_struct *vma = find_vma(mm, addr);

	return vma && vma->vm_flags == DATA ? vma : NULL;
}

void lkl_vma_add(unsigned long first, unsigned long n)
{
	unsigned long start = first << PAGE_SHIFT, end = start + (n << PAGE_SHIFT);
	struct vm_area_struct *left, *right;

	remove(start, end);
	left = neighbour(start - 1);
	right = neighbour(end);
	if (!left && !right) {
		add(start, end, DATA);
		return;
	}
	if (left) {
		start = left->vm_start;
		if (right) {
			end = right->vm_end;
			forget(right);
		}
		left->vm_end = end;
	} else {
		end = right->vm_end;
		right->vm_start = start;
	}
	store(start, end, left ?: right);
}

void lkl_vma_remove(unsigned long first, unsigned long n)
{
	remove(first << PAGE_SHIFT, (first + n) << PAGE_SHIFT);
}

static bool add_part(char *start, char *end, unsigned long flags)
{
	return add((unsigned long)start, PAGE_ALIGN((unsigned long)end), flags);
}

/* The image, with the protections that the tender gives it. */
int lkl_vma_start(struct mm_struct *of)
{
	bool ok;

	mm = of;
	mmap_write_lock(mm);
	ok = add_part(lkl_image_start, lkl_text_end, VM_READ | VM_EXEC | VM_MAYREAD | VM_MAYEXEC) &&
	     add_part(lkl_text_end, __end_rodata, VM_READ | VM_MAYREAD) &&
	     add_part(lkl_rodata_end, lkl_initdata_start, DATA) &&
	     add_part(lkl_initdata_end, _end, DATA);
	mmap_write_unlock(mm);
	return ok ? 0 : -ENOMEM;
}
