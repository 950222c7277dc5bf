/* SPDX-License-Identifier: MPL-2.0 */
# Where a signal handler returns to: rt_sigreturn. No instruction more before the call: the kernel finds the frame by the
# stack pointer.
	.text
	.global __restore_rt
	.hidden __restore_rt
	.type __restore_rt, @function
	.global __restore
	.hidden __restore
	.type __restore, @function
__restore_rt:
__restore:
	mov $15, %edi
	call lkl_syscall
	hlt
