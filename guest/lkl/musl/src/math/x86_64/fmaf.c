/* SPDX-License-Identifier: MPL-2.0 */
/*
 * fmaf() with the exceptions that a processor raises; musl's lacks some underflows. The
 * product of two floats is exact as a double. The sum is rounded toward zero, and its
 * last bit is set if it is inexact. The conversion to float then rounds and raises
 * exceptions as it would for the exact sum.
 */
#include <math.h>
#include <stdint.h>

#define INEXACT 0x20 /* in MXCSR */

float fmaf(float x, float y, float z)
{
	double xy = (double)x * y;
	union {
		double f;
		uint64_t i;
	} sum = { z };
	uint32_t before, during, work;

	/* One statement, because gcc moves arithmetic across changes of MXCSR. */
	__asm__("stmxcsr %[before]\n\t"
		"mov %[before], %[work]\n\t"
		"and $~0x20, %[work]\n\t"	/* not inexact */
		"or $0x6000, %[work]\n\t"	/* round toward zero */
		"mov %[work], %[during]\n\t"
		"ldmxcsr %[during]\n\t"
		"addsd %[xy], %[sum]\n\t"
		"stmxcsr %[during]\n\t"
		"ldmxcsr %[before]"
		: [sum] "+x"(sum.f), [before] "=m"(before), [during] "=m"(during), [work] "=&r"(work)
		: [xy] "x"(xy));
	if (sum.f == 0 || sum.f != sum.f) /* the sign of zero, and the exceptions of NaN */
		return (float)(xy + z);
	if (during & INEXACT)
		sum.i |= 1;
	return (float)sum.f;
}
