/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_CMPXCHG_H
#define _ASM_LKL_CMPXCHG_H

/* One CPU, and the kernel is interrupted only at polls (irq.c): plain loads and stores are atomic. */
#include <linux/compiler.h>

#define arch_xchg(ptr, x) ({						\
	__typeof__(ptr) __xp = (ptr);					\
	__typeof__(*(ptr)) __xo = READ_ONCE(*__xp);			\
	WRITE_ONCE(*__xp, (__typeof__(*(ptr)))(x));			\
	__xo; })

#define arch_cmpxchg(ptr, o, n) ({					\
	__typeof__(ptr) __ptr = (ptr);					\
	__typeof__(*(ptr)) __want = (__typeof__(*(ptr)))(o);		\
	__typeof__(*(ptr)) __new = (__typeof__(*(ptr)))(n);		\
	__typeof__(*(ptr)) __was = READ_ONCE(*__ptr);			\
	if (__was == __want)						\
		WRITE_ONCE(*__ptr, __new);				\
	__was; })

#define arch_cmpxchg_local	arch_cmpxchg
#define arch_cmpxchg64		arch_cmpxchg
#define arch_cmpxchg64_local	arch_cmpxchg

#endif
