/* SPDX-License-Identifier: MPL-2.0 */
/*
 * lkl_syscall() for -target native: it calls the kernel of the machine. It serves
 * the small single-threaded programs that configure scripts compile and run.
 */
	.text
	.globl	lkl_syscall
	.type	lkl_syscall, @function
lkl_syscall:
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	mov	%r9, %r8
	mov	8(%rsp), %r9
	cmp	$15, %eax		/* rt_sigreturn: the frame is above the return address */
	jne	1f
	add	$8, %rsp
1:	syscall
	ret

	.section .note.GNU-stack, "", @progbits
