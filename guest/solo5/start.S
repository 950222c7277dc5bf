/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The entry point of both targets. rdi holds the address of the boot information,
 * rsp the end of memory. This file also defines the two parts that make an ELF
 * file a Solo5 unikernel: the ABI note, and the path of an interpreter that does
 * not exist, so that the host cannot execute the file directly.
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
	.long	16			/* size of the descriptor */
	.long	0x31494241		/* "ABI1" */
	.asciz	"Solo5"
	.balign	4
	.long	TARGET
	.long	ABI_VERSION
	.long	0, 0

	.section .interp, "a", @progbits
	.asciz	"/nonexistent/solo5/"

	.section .note.GNU-stack, "", @progbits
