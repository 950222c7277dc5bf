// SPDX-License-Identifier: GPL-2.0-only
/* Constants for entry.S. */
#include <linux/kbuild.h>
#include <linux/sched.h>
#include <asm/ptrace.h>
#include <asm/thread_info.h>
#include <asm/ucontext.h>

int main(void)
{
	OFFSET(TASK_SP, task_struct, thread.sp);
	OFFSET(TASK_STACK, task_struct, stack);
	DEFINE(STACK_SIZE, THREAD_SIZE);
	DEFINE(REGS_SIZE, sizeof(struct pt_regs));
	OFFSET(REGS_BX, pt_regs, bx);
	OFFSET(REGS_BP, pt_regs, bp);
	OFFSET(REGS_R12, pt_regs, r12);
	OFFSET(REGS_R13, pt_regs, r13);
	OFFSET(REGS_R14, pt_regs, r14);
	OFFSET(REGS_R15, pt_regs, r15);
	OFFSET(REGS_DI, pt_regs, di);
	OFFSET(REGS_SI, pt_regs, si);
	OFFSET(REGS_DX, pt_regs, dx);
	OFFSET(REGS_CX, pt_regs, cx);
	OFFSET(REGS_R8, pt_regs, r8);
	OFFSET(REGS_R9, pt_regs, r9);
	OFFSET(REGS_A6, pt_regs, a6);
	OFFSET(REGS_AX, pt_regs, ax);
	OFFSET(REGS_IP, pt_regs, ip);
	OFFSET(REGS_SP, pt_regs, sp);
	OFFSET(REGS_USER, pt_regs, user);
	OFFSET(UC_MCONTEXT, ucontext, uc_mcontext);
	OFFSET(SC_R8, sigcontext, r8);
	OFFSET(SC_R9, sigcontext, r9);
	OFFSET(SC_R10, sigcontext, r10);
	OFFSET(SC_R11, sigcontext, r11);
	OFFSET(SC_R12, sigcontext, r12);
	OFFSET(SC_R13, sigcontext, r13);
	OFFSET(SC_R14, sigcontext, r14);
	OFFSET(SC_R15, sigcontext, r15);
	OFFSET(SC_DI, sigcontext, di);
	OFFSET(SC_SI, sigcontext, si);
	OFFSET(SC_BP, sigcontext, bp);
	OFFSET(SC_BX, sigcontext, bx);
	OFFSET(SC_DX, sigcontext, dx);
	OFFSET(SC_AX, sigcontext, ax);
	OFFSET(SC_CX, sigcontext, cx);
	OFFSET(SC_SP, sigcontext, sp);
	OFFSET(SC_IP, sigcontext, ip);
	OFFSET(SC_FLAGS, sigcontext, flags);
	OFFSET(SC_FPSTATE, sigcontext, fpstate);
	return 0;
}
