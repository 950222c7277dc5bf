/* SPDX-License-Identifier: MPL-2.0 */
/* Exception entry points, and the loading of the descriptor tables. */

	.text
	.globl	solo5__trap_stubs
	.balign	16
solo5__trap_stubs:
	.set	vector, 0
	.rept	32
	.balign	16
	/* The processor pushes an error code for 8, 10-14, 17, 21, 29, 30. */
	.if	((0x60227d00 >> vector) & 1) == 0
	pushq	$0
	.endif
	pushq	$vector
	jmp	trap
	.set	vector, vector + 1
	.endr

trap:
	movq	%rsp, %rdi
	andq	$-16, %rsp
	call	solo5__trap
	ud2

/* void solo5__load_tables(gdt, idt, tss_selector) */
	.globl	solo5__load_tables
	.type	solo5__load_tables, @function
solo5__load_tables:
	lgdt	(%rdi)
	lidt	(%rsi)
	ltr	%dx
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	popq	%rax
	pushq	$0x08
	pushq	%rax
	lretq
	.size	solo5__load_tables, . - solo5__load_tables

	.section .note.GNU-stack, "", @progbits
