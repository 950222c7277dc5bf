/* SPDX-License-Identifier: MPL-2.0 */
# long __syscall_cp_asm(volatile void *cancel, nr, a1, ..., a6)
#
# A system call that is a cancellation point. While the program counter is between
# __cp_begin and __cp_end the call has had no effect, so a signal handler may cancel
# the thread. To repeat an interrupted call, the kernel moves the program counter
# back to the call instruction, which lies in this range.
	.text
	.global __cp_begin
	.hidden __cp_begin
	.global __cp_end
	.hidden __cp_end
	.global __cp_cancel
	.hidden __cp_cancel
	.hidden __cancel
	.global __syscall_cp_asm
	.hidden __syscall_cp_asm
	.type __syscall_cp_asm, @function
__syscall_cp_asm:
__cp_begin:
	mov (%rdi), %eax
	test %eax, %eax
	jnz 1f
	sub $8, %rsp
	mov %rsi, %rdi
	mov %rdx, %rsi
	mov %rcx, %rdx
	mov %r8, %rcx
	mov %r9, %r8
	mov 16(%rsp), %r9		# a5
	push 24(%rsp)			# a6
	call lkl_syscall
__cp_end:
	add $16, %rsp
	ret
	/* The handler of the cancellation signal continues here, with the frame above. */
__cp_cancel:
	add $16, %rsp
1:	jmp __cancel
