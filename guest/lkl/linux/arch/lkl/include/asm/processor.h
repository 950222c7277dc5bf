/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_PROCESSOR_H
#define _ASM_LKL_PROCESSOR_H

#include <asm/page.h>
#include <asm/ptrace.h>

#define TASK_SIZE		lkl_memory_end
#define TASK_SIZE_MAX		lkl_memory_end
#define TASK_UNMAPPED_BASE	0
#define STACK_TOP		lkl_memory_end
#define STACK_TOP_MAX		STACK_TOP

struct sigcontext;

/*
 * A system call is a function call, which preserves no vector registers: of the
 * floating point state, a task keeps the control words only.
 */
struct thread_struct {
	unsigned long sp;	/* kernel stack pointer while switched away */
	unsigned long fsbase;	/* the program's thread pointer */
	u32 mxcsr;		/* SSE control and status */
	u16 fcw;		/* x87 control word */
	/*
	 * Set while the task is preempted: all registers of the program, on the
	 * kernel stack. A system call needs those in struct pt_regs only.
	 */
	struct sigcontext *preempted;
	unsigned long *stack_canary;	/* below the program's stack; see stack.c */
	unsigned long stack_size;	/* of the program's stack, if it is checked */
};

#define INIT_THREAD { .mxcsr = 0x1f80, .fcw = 0x37f }

struct task_struct;
#define task_pt_regs(tsk) \
	((struct pt_regs *)((unsigned long)task_stack_page(tsk) + THREAD_SIZE) - 1)
#define KSTK_EIP(tsk)	(task_pt_regs(tsk)->ip)
#define KSTK_ESP(tsk)	(task_pt_regs(tsk)->sp)

static inline void lkl_cpuid(u32 leaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	asm volatile("cpuid" : "=a" (*a), "=b" (*b), "=c" (*c), "=d" (*d) : "a" (leaf), "c" (0));
}

unsigned long __get_wchan(struct task_struct *p);
void start_thread(struct pt_regs *regs, unsigned long ip, unsigned long sp);

/* A loop that waits for an interrupt must poll for it. */
void lkl_relax(void);
#define cpu_relax()	lkl_relax()

#endif
