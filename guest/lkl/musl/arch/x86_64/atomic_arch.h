/* SPDX-License-Identifier: MPL-2.0 */
/*
 * There is one CPU, and a thread can be preempted between any two instructions. A
 * single instruction is atomic without the lock prefix. Of the exchanges only the loop
 * with cmpxchg is: xchg with memory always locks. A loop that waits must yield, or the
 * other thread runs only after a preemption.
 */
#include <stdint.h>

#define a_cas a_cas
static inline int a_cas(volatile int *p, int t, int s)
{
	__asm__ __volatile__("cmpxchg %2, %1" : "+a"(t), "+m"(*p) : "r"(s) : "memory", "cc");
	return t;
}

#define a_cas_p a_cas_p
static inline void *a_cas_p(volatile void *p, void *t, void *s)
{
	__asm__ __volatile__("cmpxchg %2, %1"
			     : "+a"(t), "+m"(*(void *volatile *)p) : "r"(s) : "memory", "cc");
	return t;
}

#define a_swap a_swap
static inline int a_swap(volatile int *p, int v)
{
	int old;

	do
		old = *p;
	while (a_cas(p, old, v) != old);
	return old;
}

#define a_fetch_add a_fetch_add
static inline int a_fetch_add(volatile int *p, int v)
{
	__asm__ __volatile__("xadd %0, %1" : "+r"(v), "+m"(*p) : : "memory", "cc");
	return v;
}

#define a_and a_and
static inline void a_and(volatile int *p, int v)
{
	__asm__ __volatile__("and %1, %0" : "+m"(*p) : "r"(v) : "memory", "cc");
}

#define a_or a_or
static inline void a_or(volatile int *p, int v)
{
	__asm__ __volatile__("or %1, %0" : "+m"(*p) : "r"(v) : "memory", "cc");
}

#define a_and_64 a_and_64
static inline void a_and_64(volatile uint64_t *p, uint64_t v)
{
	__asm__ __volatile__("and %1, %0" : "+m"(*p) : "r"(v) : "memory", "cc");
}

#define a_or_64 a_or_64
static inline void a_or_64(volatile uint64_t *p, uint64_t v)
{
	__asm__ __volatile__("or %1, %0" : "+m"(*p) : "r"(v) : "memory", "cc");
}

#define a_inc a_inc
static inline void a_inc(volatile int *p)
{
	__asm__ __volatile__("incl %0" : "+m"(*p) : : "memory", "cc");
}

#define a_dec a_dec
static inline void a_dec(volatile int *p)
{
	__asm__ __volatile__("decl %0" : "+m"(*p) : : "memory", "cc");
}

#define a_store a_store
static inline void a_store(volatile int *p, int x)
{
	__asm__ __volatile__("movl %1, %0" : "=m"(*p) : "r"(x) : "memory");
}

#define a_barrier a_barrier
static inline void a_barrier(void)
{
	__asm__ __volatile__("" : : : "memory");
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
