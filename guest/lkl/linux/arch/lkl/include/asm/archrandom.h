/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_ARCHRANDOM_H
#define _ASM_LKL_ARCHRANDOM_H

/* random.c: the instructions need no privilege, so the guest has entropy at once. */
bool lkl_rdrand(unsigned long *v);
bool lkl_rdseed(unsigned long *v);

static inline size_t __must_check arch_get_random_longs(unsigned long *v, size_t max_longs)
{
	return max_longs && lkl_rdrand(v) ? 1 : 0;
}

static inline size_t __must_check arch_get_random_seed_longs(unsigned long *v, size_t max_longs)
{
	return max_longs && lkl_rdseed(v) ? 1 : 0;
}

#endif
