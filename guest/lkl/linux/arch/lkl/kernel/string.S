/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * memcpy(), memmove() and memset() by the string instructions, which are fast on
 * every x86-64 CPU of the last ten years and use no vector registers: the kernel
 * does not save those. lib/string.c works byte by byte.
 */
#include <linux/linkage.h>

	.text
SYM_FUNC_START(memcpy)
	movq	%rdi, %rax
	movq	%rdx, %rcx
	cmpq	$64, %rdx
	jb	1f
	rep movsb
	ret
1:	/* Short: starting a string instruction takes longer than the copy. */
	cmpq	$8, %rdx
	jb	3f
	movq	-8(%rsi, %rdx), %r8
	leaq	-8(%rdi, %rdx), %r9
2:	movq	(%rsi), %r10
	movq	%r10, (%rdi)
	addq	$8, %rsi
	addq	$8, %rdi
	subq	$8, %rcx
	cmpq	$8, %rcx
	jae	2b
	movq	%r8, (%r9)
	ret
3:	testq	%rcx, %rcx
	jz	5f
4:	movb	(%rsi), %r10b
	movb	%r10b, (%rdi)
	incq	%rsi
	incq	%rdi
	decq	%rcx
	jnz	4b
5:	ret
SYM_FUNC_END(memcpy)

SYM_FUNC_START(memmove)
	movq	%rdi, %rax
	movq	%rdi, %rcx
	subq	%rsi, %rcx
	cmpq	%rdx, %rcx
	jae	1f			/* to is not inside the source: forwards */
	leaq	-8(%rsi, %rdx), %rsi
	leaq	-8(%rdi, %rdx), %rdi
	movq	%rdx, %rcx
2:	cmpq	$8, %rcx
	jb	3f
	movq	(%rsi), %r10
	movq	%r10, (%rdi)
	subq	$8, %rsi
	subq	$8, %rdi
	subq	$8, %rcx
	jmp	2b
3:	testq	%rcx, %rcx
	jz	5f
4:	movb	7(%rsi), %r10b
	movb	%r10b, 7(%rdi)
	decq	%rsi
	decq	%rdi
	decq	%rcx
	jnz	4b
5:	ret
1:	movq	%rdx, %rcx
	/* rep movsb is slow if the source is just above: copy words then. */
	movq	%rsi, %r8
	subq	%rdi, %r8
	cmpq	$64, %r8
	jb	6f
	rep movsb
	ret
6:	cmpq	$8, %rcx
	jb	7f
	cmpq	$8, %r8
	jb	7f
	movq	(%rsi), %r10
	movq	%r10, (%rdi)
	addq	$8, %rsi
	addq	$8, %rdi
	subq	$8, %rcx
	jmp	6b
7:	testq	%rcx, %rcx
	jz	9f
8:	movb	(%rsi), %r10b
	movb	%r10b, (%rdi)
	incq	%rsi
	incq	%rdi
	decq	%rcx
	jnz	8b
9:	ret
SYM_FUNC_END(memmove)

SYM_FUNC_START(memset)
	movq	%rdi, %r9
	movzbl	%sil, %eax
	movq	%rdx, %rcx
	cmpq	$64, %rdx
	jb	1f
	rep stosb
	movq	%r9, %rax
	ret
1:	movabsq	$0x0101010101010101, %r8
	imulq	%r8, %rax
2:	cmpq	$8, %rcx
	jb	3f
	movq	%rax, (%rdi)
	addq	$8, %rdi
	subq	$8, %rcx
	jmp	2b
3:	testq	%rcx, %rcx
	jz	5f
4:	movb	%al, (%rdi)
	incq	%rdi
	decq	%rcx
	jnz	4b
5:	movq	%r9, %rax
	ret
SYM_FUNC_END(memset)

	.section .note.GNU-stack, "", @progbits
