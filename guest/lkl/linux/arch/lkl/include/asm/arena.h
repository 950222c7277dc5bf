/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory of the program: runs of pages of any length, in the address space
 * that it shares with the kernel. Pages are named by their frame number; the
 * arena has no page 0, so 0 means failure.
 */
#ifndef _ASM_LKL_ARENA_H
#define _ASM_LKL_ARENA_H

#include <linux/types.h>

struct file;
struct mm_struct;

/* Allocates n zeroed pages in a row. Returns the first, or 0 if there is no such run. */
unsigned long lkl_arena_alloc(unsigned long n);
/*
 * Maps exactly the n pages from @first on, zeroed. Pages that the program has
 * already are cleared; with @exclusive the call fails if there are any.
 */
bool lkl_arena_claim(unsigned long first, unsigned long n, bool exclusive);
/* Unmaps those of the n pages from @first on that the program has. */
void lkl_arena_free(unsigned long first, unsigned long n);
/*
 * Hands the n pages from @first on, all of them the program's, to the kernel where they
 * are. Their references are the caller's.
 */
void lkl_arena_give(unsigned long first, unsigned long n);
/* Whether the program has all, or any, of the n pages from @first on. */
bool lkl_arena_mapped(unsigned long first, unsigned long n);
bool lkl_arena_overlaps(unsigned long first, unsigned long n);

/* Whether the program may have n pages more, so that the kernel can still work. */
bool lkl_arena_has_memory(unsigned long n);

/*
 * vma.c: the list of mappings for the rest of the kernel. lkl_vma_init() enters
 * the image, the arena then reports its changes. Callers of the latter two hold
 * the mm's lock for writing.
 */
int lkl_vma_init(struct mm_struct *mm);
void lkl_vma_add(unsigned long first, unsigned long n);
void lkl_vma_remove(unsigned long first, unsigned long n);
/* Marks mapped pages as a shared mapping of a file. Takes the mm's lock. */
void lkl_vma_share(unsigned long first, unsigned long n, struct file *file, pgoff_t pgoff);
/*
 * The pages that are locked in memory. lkl_vma_lock() ends with -ENOMEM at the first
 * page that is not mapped. The caller holds the mm's lock for writing.
 */
int lkl_vma_lock(unsigned long start, unsigned long end, bool lock);
void lkl_vma_lock_all(bool lock);
unsigned long lkl_vma_locked(unsigned long start, unsigned long end);

#endif
