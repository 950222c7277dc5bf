/* SPDX-License-Identifier: MPL-2.0 */
# The return address of signal handlers: calls rt_sigreturn. The kernel finds the
# frame by the stack pointer, so nothing may be pushed before the call.
	.text
	.global __restore_rt
	.hidden __restore_rt
	.type __restore_rt, @function
	.global __restore
	.hidden __restore
	.type __restore, @function
__restore_rt:
__restore:
	mov $15, %edi		# SYS_rt_sigreturn
	call lkl_syscall
	hlt
