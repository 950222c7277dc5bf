/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
#ifndef _UAPI_ASM_LKL_PTRACE_H
#define _UAPI_ASM_LKL_PTRACE_H

#ifndef __ASSEMBLY__
/*
 * lkl_syscall() (entry.S) stores these registers at the top of the task's kernel
 * stack. The size is a multiple of 16, which keeps the stack aligned.
 */
struct pt_regs {
	unsigned long bx, bp, r12, r13, r14, r15;	/* preserved by functions */
	unsigned long di, si, dx, cx, r8, r9;		/* number and arguments 1 to 5 */
	unsigned long a6;				/* argument 6 */
	unsigned long ax, orig_ax;			/* result; number */
	unsigned long ip, sp;				/* after the return from the call */
	unsigned long user;				/* 1: registers of a program */
};
#endif
#endif
