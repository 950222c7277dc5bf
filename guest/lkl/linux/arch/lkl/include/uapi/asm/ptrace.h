/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
#ifndef _UAPI_ASM_LKL_PTRACE_H
#define _UAPI_ASM_LKL_PTRACE_H

#ifndef __ASSEMBLY__
/* What lkl_syscall() saves at the top of the task's kernel stack; entry.S knows the order. A multiple of 16 bytes. */
struct pt_regs {
	unsigned long bx, bp, r12, r13, r14, r15;	/* what a function keeps for its caller */
	unsigned long di, si, dx, cx, r8, r9;		/* number and arguments 1 to 5 */
	unsigned long a6;				/* argument 6 */
	unsigned long ax, orig_ax;			/* result; number */
	unsigned long ip, sp;				/* where the call returns to, and the stack pointer then */
	unsigned long user;				/* 1: these are a program's registers */
};
#endif
#endif
