/* SPDX-License-Identifier: MPL-2.0 */
# int __clone(int (*fn)(void *), void *stack, int flags, void *arg, int *parent, void *tls, int *child)
# The child finds fn in rbx, which a system call preserves, and arg on its stack. The
# kernel checks the lower end of the stack: LKL_CLONE_STACK_LOW of asm/lkl.h.
	.text
	.global __clone
	.hidden __clone
	.type __clone, @function
	.hidden __lkl_stack_low
__clone:
	push %rbx
	mov %rdi, %rbx
	and $-16, %rsi
	sub $16, %rsi
	mov %rcx, (%rsi)
	push %rsi
	push %rdx
	push %r8
	push %r9
	mov %r9, %rdi
	mov %edx, %esi
	call __lkl_stack_low
	pop %r9				# a5 = tls
	pop %rcx			# a3 = parent
	pop %rsi			# a1 = flags
	pop %rdx			# a2 = stack
	mov 16(%rsp), %r8		# a4 = child
	mov %esi, %esi
	mov $0x4c4b00000000, %rdi	# LKL_CLONE_STACK_LOW
	or %rdi, %rsi
	mov $56, %edi			# SYS_clone
	sub $8, %rsp
	push %rax			# a6
	call lkl_syscall
	test %eax, %eax
	jz 1f
	add $16, %rsp
	pop %rbx
	ret
1:	xor %ebp, %ebp
	pop %rdi
	add $8, %rsp
	call *%rbx
	mov $60, %edi			# SYS_exit
	movslq %eax, %rsi
	call lkl_syscall
	hlt
