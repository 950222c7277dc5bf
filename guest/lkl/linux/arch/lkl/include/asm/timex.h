/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_TIMEX_H
#define _ASM_LKL_TIMEX_H

typedef unsigned long cycles_t;

static inline unsigned long lkl_tsc(void)
{
	unsigned int lo, hi;

	asm volatile("rdtsc" : "=a" (lo), "=d" (hi));
	return (unsigned long)hi << 32 | lo;
}

#define get_cycles get_cycles
static inline cycles_t get_cycles(void)
{
	return lkl_tsc();
}

#include <asm-generic/timex.h>

#endif
