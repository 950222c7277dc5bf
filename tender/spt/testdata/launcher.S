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
 * The page also has the handler of the signal that preempts a guest. The guest's
 * own handler must not run before the system call filter is installed. Signals that
 * interrupt the launcher therefore end here.
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

	/*
	 * rdx points to struct ucontext. If its rip, at 168, is in this page, go
	 * back: the registers that delivery has changed are at 104 (rdi), 112 (rsi),
	 * 136 (rdx), 144 (rax), 160 (rsp) and 176 (flags). Else the guest's handler
	 * takes over, with rdx.
	 */
preempt:
	lea	back(%rip), %rdi	/* an address in this page */
	xor	168(%rdx), %rdi
	shr	$12, %rdi
	jz	back
	jmp	*handler(%rip)
back:
	mov	%ss, %eax
	push	%rax
	push	160(%rdx)
	push	176(%rdx)
	mov	%cs, %eax
	push	%rax
	push	168(%rdx)
	mov	104(%rdx), %rdi
	mov	112(%rdx), %rsi
	mov	144(%rdx), %rax
	mov	136(%rdx), %rdx
	iretq

	.balign	8
parameters:
status:	.quad	0
clear:	.quad	0
words:	.quad	0
stack:	.quad	0
boot:	.quad	0
entry:	.quad	0
handler: .quad	0
table:
