/* SPDX-License-Identifier: MPL-2.0 */
# int __clone(int (*fn)(void *), void *stack, int flags, void *arg, int *parent, void *tls, int *child)
# The child finds fn in rbx, which a system call preserves, and arg on its stack.
	.text
	.global __clone
	.hidden __clone
	.type __clone, @function
__clone:
	push %rbx
	mov 16(%rsp), %r10		# child
	mov %rdi, %rbx
	and $-16, %rsi
	sub $16, %rsi
	mov %rcx, (%rsi)
	xchg %rsi, %rdx			# a2 = stack, a1 = flags
	mov $56, %edi			# SYS_clone
	mov %r8, %rcx			# a3 = parent
	mov %r10, %r8			# a4 = child; a5 = tls is in r9
	call lkl_syscall
	test %eax, %eax
	jz 1f
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
