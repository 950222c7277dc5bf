/* SPDX-License-Identifier: MPL-2.0 */
# void __unmapself(void *base, size_t size): a thread frees its own stack and ends. The kernel keeps what it needs of the
# caller on its own stack, so a small static one serves for the call itself: nothing else runs in between.
	.text
	.global __unmapself
	.type __unmapself, @function
__unmapself:
	mov %rsi, %rdx
	mov %rdi, %rsi
	mov $11, %edi
	lea stack_end(%rip), %rsp
	call lkl_syscall
	mov $60, %edi
	xor %esi, %esi
	call lkl_syscall
	hlt

	.bss
	.align 16
	.skip 256
stack_end:
	.skip 16
