/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_BARRIER_H
#define _ASM_LKL_BARRIER_H

/* One CPU, and no device that accesses memory: only the compiler can reorder. */
#define mb()	barrier()
#define rmb()	barrier()
#define wmb()	barrier()

#include <asm-generic/barrier.h>

#endif
