/* SPDX-License-Identifier: MPL-2.0 */
# int vfork(void) fails with ENOSYS: a unikernel has one process.
	.text
	.global vfork
	.type vfork, @function
	.hidden __syscall_ret
vfork:
	mov $-38, %rdi		# -ENOSYS
	jmp __syscall_ret
