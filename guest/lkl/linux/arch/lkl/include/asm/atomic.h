/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_ATOMIC_H
#define _ASM_LKL_ATOMIC_H

/* Plain operations are atomic here; see cmpxchg.h. */
#include <linux/types.h>
#include <asm/barrier.h>
#include <asm/cmpxchg.h>

#define arch_atomic_read(v)	READ_ONCE((v)->counter)
#define arch_atomic_set(v, i)	WRITE_ONCE((v)->counter, (i))
#define arch_atomic64_read(v)	READ_ONCE((v)->counter)
#define arch_atomic64_set(v, i)	WRITE_ONCE((v)->counter, (i))
#define ATOMIC64_INIT(i)	{ (i) }

#define LKL_ATOMIC_OP(pre, type, op, c_op)				\
static __always_inline void arch_##pre##_##op(type i, pre##_t *v)	\
{									\
	WRITE_ONCE(v->counter, READ_ONCE(v->counter) c_op i);		\
}									\
static __always_inline type arch_##pre##_fetch_##op(type i, pre##_t *v)	\
{									\
	type old = READ_ONCE(v->counter);				\
									\
	WRITE_ONCE(v->counter, old c_op i);				\
	return old;							\
}

#define LKL_ATOMIC_RETURN(pre, type, op, c_op)				\
static __always_inline type arch_##pre##_##op##_return(type i, pre##_t *v) \
{									\
	type new = READ_ONCE(v->counter) c_op i;			\
									\
	WRITE_ONCE(v->counter, new);					\
	return new;							\
}

#define LKL_ATOMIC_OPS(pre, type)		\
	LKL_ATOMIC_OP(pre, type, add, +)	\
	LKL_ATOMIC_OP(pre, type, sub, -)	\
	LKL_ATOMIC_OP(pre, type, and, &)	\
	LKL_ATOMIC_OP(pre, type, andnot, & ~)	\
	LKL_ATOMIC_OP(pre, type, or, |)		\
	LKL_ATOMIC_OP(pre, type, xor, ^)	\
	LKL_ATOMIC_RETURN(pre, type, add, +)	\
	LKL_ATOMIC_RETURN(pre, type, sub, -)

LKL_ATOMIC_OPS(atomic, int)
LKL_ATOMIC_OPS(atomic64, s64)

#define arch_atomic_add_return		arch_atomic_add_return
#define arch_atomic_sub_return		arch_atomic_sub_return
#define arch_atomic_fetch_add		arch_atomic_fetch_add
#define arch_atomic_fetch_sub		arch_atomic_fetch_sub
#define arch_atomic_fetch_and		arch_atomic_fetch_and
#define arch_atomic_fetch_andnot	arch_atomic_fetch_andnot
#define arch_atomic_fetch_or		arch_atomic_fetch_or
#define arch_atomic_fetch_xor		arch_atomic_fetch_xor
#define arch_atomic_andnot		arch_atomic_andnot
#define arch_atomic64_add_return	arch_atomic64_add_return
#define arch_atomic64_sub_return	arch_atomic64_sub_return
#define arch_atomic64_fetch_add		arch_atomic64_fetch_add
#define arch_atomic64_fetch_sub		arch_atomic64_fetch_sub
#define arch_atomic64_fetch_and		arch_atomic64_fetch_and
#define arch_atomic64_fetch_andnot	arch_atomic64_fetch_andnot
#define arch_atomic64_fetch_or		arch_atomic64_fetch_or
#define arch_atomic64_fetch_xor		arch_atomic64_fetch_xor
#define arch_atomic64_andnot		arch_atomic64_andnot

#define arch_atomic_xchg(v, new)		arch_xchg(&(v)->counter, (new))
#define arch_atomic_cmpxchg(v, old, new)	arch_cmpxchg(&(v)->counter, (old), (new))
#define arch_atomic64_xchg(v, new)		arch_xchg(&(v)->counter, (new))
#define arch_atomic64_cmpxchg(v, old, new)	arch_cmpxchg(&(v)->counter, (old), (new))

#endif
