/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_UACCESS_H
#define _ASM_LKL_UACCESS_H

/*
 * Kernel and program share one address space, and a fault ends the guest: there
 * is no handler that could look up an exception table. A pointer from the program
 * is therefore checked before it is used. The range must lie in the guest's memory,
 * not below the image; a range that is written must not lie in the read-only part of
 * the image. Any other range is -EFAULT, as for a page that is not mapped.
 *
 * The check does not protect the kernel from the program, which can write to the
 * kernel's memory directly. It turns the mistakes of programs into errors.
 */
#include <linux/string.h>
#include <asm/page.h>

extern char lkl_rodata_end[];

static inline int lkl_access_ok(const void __user *ptr, unsigned long size)
{
	unsigned long addr = (unsigned long)ptr;

	/* An empty buffer may be anywhere, even a null pointer. */
	return !size || (addr >= 0x100000UL && size <= lkl_memory_end && addr <= lkl_memory_end - size);
}
#define __access_ok(ptr, size)	lkl_access_ok((ptr), (size))

static __always_inline unsigned long raw_copy_from_user(void *to, const void __user *from,
							    unsigned long n)
{
	if (unlikely(!lkl_access_ok(from, n)))
		return n;
	if (__builtin_constant_p(n) && n <= 8) {
		__builtin_memcpy(to, (const void __force *)from, n);
		return 0;
	}
	memcpy(to, (const void __force *)from, n);
	return 0;
}

static __always_inline unsigned long raw_copy_to_user(void __user *to, const void *from,
							  unsigned long n)
{
	if (unlikely(n && ((unsigned long)to < (unsigned long)lkl_rodata_end || !lkl_access_ok(to, n))))
		return n;
	if (__builtin_constant_p(n) && n <= 8) {
		__builtin_memcpy((void __force *)to, from, n);
		return 0;
	}
	memcpy((void __force *)to, from, n);
	return 0;
}
#define INLINE_COPY_FROM_USER
#define INLINE_COPY_TO_USER

static inline unsigned long lkl_clear_user(void __user *to, unsigned long n)
{
	if (unlikely((unsigned long)to < (unsigned long)lkl_rodata_end || !lkl_access_ok(to, n)))
		return n;
	memset((void __force *)to, 0, n);
	return 0;
}
#define __clear_user	lkl_clear_user

#define __get_kernel_nofault(dst, src, type, err_label)			\
do {									\
	if (!lkl_access_ok((const void __user *)(src), sizeof(type)))	\
		goto err_label;						\
	__builtin_memcpy((dst), (src), sizeof(type));			\
} while (0)
#define __put_kernel_nofault(dst, src, type, err_label)			\
do {									\
	if (!lkl_access_ok((const void __user *)(dst), sizeof(type)))	\
		goto err_label;						\
	__builtin_memcpy((dst), (src), sizeof(type));			\
} while (0)

#include <asm-generic/uaccess.h>

#endif
