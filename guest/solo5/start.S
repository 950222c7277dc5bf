/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The entry, the same for both targets but for a name: rdi holds the boot
 * information, rsp the end of memory. With it come the two things that make an
 * ELF file a Solo5 unikernel: the ABI note, and an interpreter that does not
 * exist, so that nobody runs the file directly.
 */
#include "abi.h"

	.section .text.start, "ax", @progbits
	.globl	_start
	.type	_start, @function
_start:
	cld
	xorl	%ebp, %ebp
	andq	$-16, %rsp
	call	START
	ud2
	.size	_start, . - _start

	.section .note.solo5.abi, "a", @note
	.balign	4
	.long	6			/* size of the name */
	.long	16			/* size of what follows it */
	.long	0x31494241		/* "ABI1" */
	.asciz	"Solo5"
	.balign	4
	.long	TARGET
	.long	ABI_VERSION
	.long	0, 0

	.section .interp, "a", @progbits
	.asciz	"/nonexistent/solo5/"

	.section .note.GNU-stack, "", @progbits
