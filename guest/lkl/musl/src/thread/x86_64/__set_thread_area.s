/* SPDX-License-Identifier: MPL-2.0 */
# int __set_thread_area(void *thread): arch_prctl(ARCH_SET_FS, thread)
	.text
	.global __set_thread_area
	.hidden __set_thread_area
	.type __set_thread_area, @function
__set_thread_area:
	mov $0x1002, %esi	# ARCH_SET_FS
	mov %rdi, %rdx
	mov $158, %edi		# SYS_arch_prctl
	jmp lkl_syscall
