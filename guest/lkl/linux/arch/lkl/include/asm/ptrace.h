/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_PTRACE_H
#define _ASM_LKL_PTRACE_H

#include <uapi/asm/ptrace.h>

#ifndef __ASSEMBLY__
#define user_mode(regs)			((regs)->user)
#define instruction_pointer(regs)	((regs)->ip)
#define profile_pc(regs)		instruction_pointer(regs)
#define user_stack_pointer(regs)	((regs)->sp)
#define current_user_stack_pointer()	user_stack_pointer(current_pt_regs())
static inline unsigned long regs_return_value(struct pt_regs *regs)
{
	return regs->ax;
}
#endif
#endif
