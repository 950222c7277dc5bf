/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_ARENA_H
#define _ASM_LKL_ARENA_H

/*
 * The program's memory: runs of pages of any length, in one address space with everything else. Pages are numbered by
 * their frame; 0 stands for none.
 */
#include <linux/types.h>

/* Finds n pages in a row, filled with zero. Returns the first, or 0 when memory or its unbroken part does not suffice. */
unsigned long lkl_arena_alloc(unsigned long n);
/* Makes the n pages from first on the program's, all of them new, if they can be had. free: if none of them is. */
bool lkl_arena_claim(unsigned long first, unsigned long n, bool free);
/* Takes back what of the n pages from first on is the program's. */
void lkl_arena_free(unsigned long first, unsigned long n);
/* Whether all, or any, of the n pages from first on are the program's. */
bool lkl_arena_mapped(unsigned long first, unsigned long n);
bool lkl_arena_touches(unsigned long first, unsigned long n);

/* The account of it for the rest of the kernel, which the arena keeps; begun with the image. Under the mm's lock. */
struct mm_struct;
int lkl_vma_start(struct mm_struct *of);
void lkl_vma_add(unsigned long first, unsigned long n);
void lkl_vma_remove(unsigned long first, unsigned long n);

#endif
