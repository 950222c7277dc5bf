// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory use of the program, for /proc/PID/status, statm and stat. The nommu
 * versions of these functions (fs/proc/task_nommu.c) expect regions of the generic
 * mmap(); the linker replaces them by those below (--wrap, see Makefile).
 *
 * Each mapped page is memory that nothing else can use, so all of it is resident.
 */
#include <linux/mm.h>
#include <linux/seq_file.h>
#include <asm/lkl.h>
#include <asm/sections.h>
#include "filemap.h"
#include "usage.h"

static unsigned long lkl_usage_text(void)
{
	return PFN_DOWN(lkl_text_end - lkl_image_start);
}

void lkl_usage_init(struct mm_struct *mm)
{
	unsigned long image = PFN_UP((unsigned long)_end) - PFN_DOWN((unsigned long)lkl_image_start);

	atomic_long_set(&mm->rss_stat.count[MM_FILEPAGES], image);
	mm->total_vm = image;
	mm->hiwater_vm = image;
}

static int lkl_usage_counter(const struct vm_area_struct *vma)
{
	if (!vma->vm_file)
		return MM_ANONPAGES;
	return lkl_is_tmpfs(vma->vm_file->f_mapping) ? MM_SHMEMPAGES : MM_FILEPAGES;
}

static void lkl_usage_change(const struct vm_area_struct *vma, long pages)
{
	struct mm_struct *mm = vma->vm_mm;

	atomic_long_add(pages, &mm->rss_stat.count[lkl_usage_counter(vma)]);
	mm->total_vm += pages;
	if (!(vma->vm_flags & VM_MAYSHARE))
		mm->data_vm += pages;
	if (vma->vm_flags & VM_LOCKED)
		mm->locked_vm += pages;
}

void lkl_usage_add(const struct vm_area_struct *vma, unsigned long pages)
{
	lkl_usage_change(vma, pages);
	update_hiwater_rss(vma->vm_mm);
	update_hiwater_vm(vma->vm_mm);
}

void lkl_usage_remove(const struct vm_area_struct *vma, unsigned long pages)
{
	lkl_usage_change(vma, -(long)pages);
}

static void lkl_usage_print(struct seq_file *m, const char *name, unsigned long pages)
{
	seq_printf(m, "%s\t%8lu kB\n", name, pages << (PAGE_SHIFT - 10));
}

void __wrap_task_mem(struct seq_file *m, struct mm_struct *mm)
{
	lkl_usage_print(m, "VmPeak:", get_mm_hiwater_vm(mm));
	lkl_usage_print(m, "VmSize:", mm->total_vm);
	lkl_usage_print(m, "VmLck:", mm->locked_vm);
	lkl_usage_print(m, "VmPin:", 0);
	lkl_usage_print(m, "VmHWM:", get_mm_hiwater_rss(mm));
	lkl_usage_print(m, "VmRSS:", get_mm_rss(mm));
	lkl_usage_print(m, "RssAnon:", get_mm_counter(mm, MM_ANONPAGES));
	lkl_usage_print(m, "RssFile:", get_mm_counter(mm, MM_FILEPAGES));
	lkl_usage_print(m, "RssShmem:", get_mm_counter(mm, MM_SHMEMPAGES));
	lkl_usage_print(m, "VmData:", mm->data_vm);
	lkl_usage_print(m, "VmStk:", 0);
	lkl_usage_print(m, "VmExe:", lkl_usage_text());
	lkl_usage_print(m, "VmLib:", 0);
	lkl_usage_print(m, "VmPTE:", 0);
	lkl_usage_print(m, "VmSwap:", 0);
}

unsigned long __wrap_task_vsize(struct mm_struct *mm)
{
	return mm->total_vm << PAGE_SHIFT;
}

unsigned long __wrap_task_statm(struct mm_struct *mm, unsigned long *shared, unsigned long *text,
				unsigned long *data, unsigned long *resident)
{
	*shared = get_mm_counter(mm, MM_FILEPAGES) + get_mm_counter(mm, MM_SHMEMPAGES);
	*text = lkl_usage_text();
	*data = mm->data_vm;
	*resident = get_mm_rss(mm);
	return mm->total_vm;
}
