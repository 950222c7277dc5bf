/* SPDX-License-Identifier: MPL-2.0 */
/* work MILLIONS: computes for so many million multiplications. */
#include <stdlib.h>

int main(int argc, char **argv)
{
	unsigned long n = argc == 2 ? strtoul(argv[1], NULL, 10) * 1000000 : 0, x = 1;

	for (unsigned long i = 0; i < n; i++) {
		x = x * 6364136223846793005 + 1;
		__asm__ volatile("" : "+r"(x));
	}
	return 0;
}
