// SPDX-License-Identifier: GPL-2.0-only
/*
 * The check of the ends of the program's stacks.
 *
 * Without page tables a guard page stops nothing: a stack that is too small grows
 * into the memory below it. So the kernel writes a canary below a stack when it
 * creates the thread. At each system call of the thread it checks the canary, and
 * whether the stack pointer is in the page below the stack. A stack that the thread
 * changes to, a coroutine's or that of sigaltstack(), is not checked.
 */
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <asm/lkl.h>
#include <asm/page.h>
#include <asm/ptrace.h>

/* For tasks whose stack has no known end. */
static unsigned long lkl_stack_unchecked = LKL_STACK_CANARY;

/* @regs: the system call by which the parent creates the task, or NULL. */
void lkl_stack_init(struct thread_struct *t, const struct pt_regs *regs, unsigned long top)
{
	unsigned long low = regs && regs->si >> 32 == LKL_CLONE_STACK_LOW >> 32 ? regs->a6 : 0;

	t->stack_canary = &lkl_stack_unchecked;
	if (low <= PAGE_SIZE || low & ~PAGE_MASK || low >= top || top > lkl_memory_end)
		return;
	t->stack_canary = (unsigned long *)low - 1;
	t->stack_size = top - low;
	*t->stack_canary = LKL_STACK_CANARY;
}

/* A thread that ends unmaps its stack, and makes another system call. */
void lkl_stack_unmapped(unsigned long addr, unsigned long len)
{
	if ((unsigned long)current->thread.stack_canary - addr < len)
		current->thread.stack_canary = &lkl_stack_unchecked;
}

/* No signal handler runs: the memory below the stack is already overwritten. */
void lkl_stack_overrun(void)
{
	pr_emerg("lkl: thread %d (%s) has overrun its stack of %lu KiB: give it a larger one, by pthread_attr_setstacksize() or the linker option -z stack-size; the main thread's size is an option of the job\n",
		 task_pid_nr(current), current->comm, DIV_ROUND_UP(current->thread.stack_size, 1024));
	force_fatal_sig(SIGSEGV);
}
