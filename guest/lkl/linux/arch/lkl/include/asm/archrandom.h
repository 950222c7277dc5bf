/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_ARCHRANDOM_H
#define _ASM_LKL_ARCHRANDOM_H

/* The processor's own generator, which needs no privilege: the guest has entropy from its first instruction. */
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
