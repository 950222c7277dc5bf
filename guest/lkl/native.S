/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The kernel's side of -target native, for the programs that configure scripts
 * compile and run: lkl_syscall() calls the kernel of the machine.
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
	je	1f
	cmp	$56, %eax		/* clone: the child returns as well, on its stack */
	jne	2f
	test	%rsi, %rsi
	jz	2f
	mov	(%rsp), %rcx
	sub	$8, %rsi
	mov	%rcx, (%rsi)
	jmp	2f
1:	add	$8, %rsp
2:	syscall
	ret

/*
 * The entry of the program. libc's atomic operations have no lock prefix, because a
 * guest has one CPU. So all threads of a native program must run on one, too. It is
 * the one on which the program starts, since another may not be allowed.
 */
	.globl	lkl_native
	.type	lkl_native, @function
lkl_native:
	sub	$128, %rsp		/* a set of 1,024 CPUs */
	mov	%rsp, %rdi
	xor	%eax, %eax
	mov	$16, %ecx
	rep stosq
	push	%rax
	mov	%rsp, %rdi
	xor	%esi, %esi
	xor	%edx, %edx
	mov	$309, %eax		/* getcpu(&cpu, NULL, NULL) */
	syscall
	pop	%rax
	cmp	$1024, %eax
	jae	1f
	bts	%rax, (%rsp)
	xor	%edi, %edi
	mov	$128, %esi
	mov	%rsp, %rdx
	mov	$203, %eax		/* sched_setaffinity(0, 128, set) */
	syscall
1:	add	$128, %rsp
	jmp	lkl_program

	.section .note.GNU-stack, "", @progbits
