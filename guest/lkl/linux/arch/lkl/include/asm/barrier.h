/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_BARRIER_H
#define _ASM_LKL_BARRIER_H

/* One CPU and no device that reads memory by itself: order in the compiler is all that is needed. */
#define mb()	barrier()
#define rmb()	barrier()
#define wmb()	barrier()

#include <asm-generic/barrier.h>

#endif
