/* SPDX-License-Identifier: MPL-2.0 */
# int vfork(void): there is one process; ENOSYS.
	.text
	.global vfork
	.type vfork, @function
	.hidden __syscall_ret
vfork:
	mov $-38, %rdi
	jmp __syscall_ret
