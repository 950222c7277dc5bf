// SPDX-License-Identifier: GPL-2.0-only
/* The sum of the Internet checksum, eight bytes at a time. */
#include <linux/export.h>
#include <linux/types.h>
#include <asm/checksum.h>
#include <asm/unaligned.h>

static inline unsigned long lkl_add_carry(unsigned long a, unsigned long b)
{
	asm("addq %1, %0\n\tadcq $0, %0" : "+r" (a) : "r" (b) : "cc");
	return a;
}

/* Returns the folded sum of @len bytes, as if @buff were an even address. */
unsigned int do_csum(const unsigned char *buff, int len)
{
	unsigned long sum = 0;
	unsigned int folded;

	for (; len >= 32; len -= 32, buff += 32)
		asm("addq 0(%1), %0\n\t"
		    "adcq 8(%1), %0\n\t"
		    "adcq 16(%1), %0\n\t"
		    "adcq 24(%1), %0\n\t"
		    "adcq $0, %0"
		    : "+r" (sum) : "r" (buff), "m" (*(const char (*)[32])buff) : "cc");
	for (; len >= 8; len -= 8, buff += 8)
		sum = lkl_add_carry(sum, get_unaligned((const u64 *)buff));
	if (len & 4) {
		sum = lkl_add_carry(sum, get_unaligned((const u32 *)buff));
		buff += 4;
	}
	if (len & 2) {
		sum = lkl_add_carry(sum, get_unaligned((const u16 *)buff));
		buff += 2;
	}
	if (len & 1)
		sum = lkl_add_carry(sum, *buff);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	folded = (sum & 0xffff) + (sum >> 16);
	folded = (folded & 0xffff) + (folded >> 16);
	return folded;
}
