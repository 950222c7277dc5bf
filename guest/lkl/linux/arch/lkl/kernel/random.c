// SPDX-License-Identifier: GPL-2.0-only
/* The CPU's random number generator: RDRAND and RDSEED. */
#include <linux/bits.h>
#include <linux/types.h>
#include <asm/archrandom.h>
#include <asm/processor.h>

/* As Intel's manual advises for RDRAND: the generator may be exhausted for a moment. */
#define LKL_RANDOM_TRIES 10

static bool lkl_random_have_rdrand(void)
{
	u32 a, b, c, d;

	lkl_cpuid(1, &a, &b, &c, &d);
	return c & BIT(30);
}

static bool lkl_random_have_rdseed(void)
{
	u32 a, b, c, d;

	lkl_cpuid(0, &a, &b, &c, &d);
	if (a < 7)
		return false;
	lkl_cpuid(7, &a, &b, &c, &d);
	return b & BIT(18);
}

bool lkl_rdrand(unsigned long *v)
{
	static int have = -1;
	bool ok;
	int tries;

	if (have < 0)
		have = lkl_random_have_rdrand();
	for (tries = 0; have && tries < LKL_RANDOM_TRIES; tries++) {
		asm volatile("rdrand %0" : "=r" (*v), "=@ccc" (ok));
		if (ok)
			return true;
	}
	return false;
}

bool lkl_rdseed(unsigned long *v)
{
	static int have = -1;
	bool ok;
	int tries;

	if (have < 0)
		have = lkl_random_have_rdseed();
	for (tries = 0; have && tries < LKL_RANDOM_TRIES; tries++) {
		asm volatile("rdseed %0" : "=r" (*v), "=@ccc" (ok));
		if (ok)
			return true;
	}
	return false;
}
