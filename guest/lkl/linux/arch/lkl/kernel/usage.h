/* SPDX-License-Identifier: GPL-2.0-only */
/* The functions by which the linker replaces those of fs/proc/task_nommu.c. */
#ifndef _LKL_USAGE_H
#define _LKL_USAGE_H

struct mm_struct;
struct seq_file;

void __wrap_task_mem(struct seq_file *m, struct mm_struct *mm);
unsigned long __wrap_task_vsize(struct mm_struct *mm);
unsigned long __wrap_task_statm(struct mm_struct *mm, unsigned long *shared, unsigned long *text,
				unsigned long *data, unsigned long *resident);

#endif
