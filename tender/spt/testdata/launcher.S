/* SPDX-License-Identifier: MPL-2.0
 *
 * The launcher's code: walks a table of system calls, then becomes the guest.
 * The bytes in ../code.go are this file, assembled; a test compares them.
 *
 * A step is eight words: number, six arguments, expected result. A negative
 * number ends a table: with an address in the first argument the walk goes on
 * there, with the stack of the second argument; without, the guest begins.
 *
 *	rbx  the step		ebp  its index, across tables
 *
 * The words after the code are those of struct parameters in ../launcher.go.
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

	/* Report {index, result} and die of a signal that no guest dies of. */
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

	/* Wipe table and filter, leave nothing in a register, jump. */
enter:
	xor	%eax, %eax
	mov	wipe(%rip), %rdi
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
wipe:	.quad	0
words:	.quad	0
stack:	.quad	0
boot:	.quad	0
entry:	.quad	0
table:
