/* SPDX-License-Identifier: MPL-2.0
 *
 * The launcher's code: makes the system calls of a table, then starts the guest.
 * code_linux_amd64.go contains the assembled bytes; a test compares them.
 *
 * A step has eight words: number, six arguments, expected result. A negative
 * number ends a table. Its first argument is the address of the next table, and
 * its second the stack pointer. If the address is 0, the guest begins.
 *
 *	rbx  address of the step	ebp  index of the step, across tables
 *
 * The words after the code are struct parameters of launcher_linux_amd64.go.
 */
	.text
	.globl _start
_start:
	lea	table(%rip), %rbx
	xor	%ebp, %ebp
step:
	mov	(%rbx), %rax
	mov	8(%rbx), %rdi
	mov	16(%rbx), %rsi
	test	%rax, %rax
	js	link
	mov	24(%rbx), %rdx
	mov	32(%rbx), %r10
	mov	40(%rbx), %r8
	mov	48(%rbx), %r9
	syscall
	cmp	56(%rbx), %rax
	jne	failed
	inc	%ebp
	add	$64, %rbx
	jmp	step

link:
	test	%rdi, %rdi
	jz	enter
	mov	%rdi, %rbx
	mov	%rsi, %rsp
	jmp	step

	/* Report {index, result}, and end by a signal that no guest can raise. */
failed:
	push	%rax
	push	%rbp
	mov	status(%rip), %rdi
	mov	%rsp, %rsi
	mov	$16, %edx
	mov	$1, %eax		/* write */
	syscall
	mov	$39, %eax		/* getpid */
	syscall
	mov	%eax, %edi
	mov	$16, %esi		/* SIGSTKFLT */
	mov	$62, %eax		/* kill */
	syscall
	ud2

	/* Clear table, filter and registers, and jump to the guest. */
enter:
	xor	%eax, %eax
	mov	clear(%rip), %rdi
	mov	words(%rip), %rcx
	rep stosq
	xor	%ebx, %ebx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%ebp, %ebp
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	mov	stack(%rip), %rsp
	mov	boot(%rip), %rdi
	jmp	*entry(%rip)

	.balign	8
parameters:
status:	.quad	0
clear:	.quad	0
words:	.quad	0
stack:	.quad	0
boot:	.quad	0
entry:	.quad	0
table:
