/* SPDX-License-Identifier: MPL-2.0 */
/*
 * There is one CPU, and threads are switched in system calls only, so plain
 * operations are atomic. A loop that waits must yield, or no other thread runs.
 */
#include <stdint.h>

#define barrier_() __asm__ __volatile__("" : : : "memory")

#define a_cas a_cas
static inline int a_cas(volatile int *p, int t, int s)
{
	int old = *p;

	if (old == t)
		*p = s;
	barrier_();
	return old;
}

#define a_cas_p a_cas_p
static inline void *a_cas_p(volatile void *p, void *t, void *s)
{
	void *volatile *q = (void *volatile *)p, *old = *q;

	if (old == t)
		*q = s;
	barrier_();
	return old;
}

#define a_swap a_swap
static inline int a_swap(volatile int *p, int v)
{
	int old = *p;

	*p = v;
	barrier_();
	return old;
}

#define a_fetch_add a_fetch_add
static inline int a_fetch_add(volatile int *p, int v)
{
	int old = *p;

	*p = old + v;
	barrier_();
	return old;
}

#define a_and a_and
static inline void a_and(volatile int *p, int v)
{
	*p &= v;
	barrier_();
}

#define a_or a_or
static inline void a_or(volatile int *p, int v)
{
	*p |= v;
	barrier_();
}

#define a_and_64 a_and_64
static inline void a_and_64(volatile uint64_t *p, uint64_t v)
{
	*p &= v;
	barrier_();
}

#define a_or_64 a_or_64
static inline void a_or_64(volatile uint64_t *p, uint64_t v)
{
	*p |= v;
	barrier_();
}

#define a_inc a_inc
static inline void a_inc(volatile int *p)
{
	++*p;
	barrier_();
}

#define a_dec a_dec
static inline void a_dec(volatile int *p)
{
	--*p;
	barrier_();
}

#define a_store a_store
static inline void a_store(volatile int *p, int x)
{
	*p = x;
	barrier_();
}

#define a_barrier a_barrier
static inline void a_barrier(void)
{
	barrier_();
}

long lkl_syscall(long n, long a1, long a2, long a3, long a4, long a5, long a6);

#define a_spin a_spin
static inline void a_spin(void)
{
	lkl_syscall(24 /* sched_yield */, 0, 0, 0, 0, 0, 0);
}

#define a_crash a_crash
static inline void a_crash(void)
{
	__asm__ __volatile__("hlt" : : : "memory");
}

#define a_ctz_64 a_ctz_64
static inline int a_ctz_64(uint64_t x)
{
	return __builtin_ctzll(x);
}

#define a_clz_64 a_clz_64
static inline int a_clz_64(uint64_t x)
{
	return __builtin_clzll(x);
}
