// SPDX-License-Identifier: GPL-2.0-only
/* Creation and inspection of tasks. */
#include <linux/printk.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/debug.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/string.h>
#include <asm/lkl.h>
#include <asm/solo5.h>
#include <asm/switch_to.h>

/* In entry.S: the first steps of a new task. */
asmlinkage void ret_from_fork(void);

/* The registers that __switch_to() pops. */
struct lkl_switch_frame {
	unsigned long r15, r14, r13, r12, bx, bp, ip;
};

bool lkl_program_started;

int copy_thread(struct task_struct *p, const struct kernel_clone_args *args)
{
	struct pt_regs *regs = task_pt_regs(p);
	struct lkl_switch_frame *frame = (struct lkl_switch_frame *)regs - 1;

	memset(frame, 0, sizeof(*frame));
	lkl_stack_init(&p->thread, args->fn ? NULL : current_pt_regs(), args->stack);
	frame->ip = (unsigned long)ret_from_fork;
	if (args->fn) {
		memset(regs, 0, sizeof(*regs));
		frame->bx = (unsigned long)args->fn;
		frame->r12 = (unsigned long)args->fn_arg;
	} else {
		lkl_program_started = true;
		*regs = *current_pt_regs();
		regs->ax = 0;
		/* The control words of the parent may be stored with another task. */
		lkl_switch_user();
		lkl_store_control_words(&p->thread);
		if (args->stack)
			regs->sp = args->stack;
		if (args->flags & CLONE_SETTLS)
			p->thread.fsbase = args->tls;
	}
	p->thread.sp = (unsigned long)frame;
	return 0;
}

void flush_thread(void)
{
}

void start_thread(struct pt_regs *regs, unsigned long ip, unsigned long sp)
{
	memset(regs, 0, sizeof(*regs));
	regs->ip = ip;
	regs->sp = sp;
	regs->user = 1;
}

unsigned long __get_wchan(struct task_struct *p)
{
	return 0;
}

void show_regs(struct pt_regs *regs)
{
	show_regs_print_info(KERN_DEFAULT);
	pr_warn("ip %016lx sp %016lx nr %ld\n", regs->ip, regs->sp, regs->orig_ax);
}

/* Without frame pointers and unwind tables: prints each word that is a code address. */
void show_stack(struct task_struct *task, unsigned long *sp, const char *loglvl)
{
	unsigned long *end;
	int i;

	if (!sp && task && task != current)
		sp = (unsigned long *)task->thread.sp;
	else if (!sp)
		sp = __builtin_frame_address(0);
	end = (unsigned long *)((unsigned long)task_stack_page(task ?: current) + THREAD_SIZE);
	printk("%sCode addresses on the stack:", loglvl);
	for (i = 0; sp < end && i < 24; sp++)
		if (__kernel_text_address(*sp)) {
			pr_cont(" %lx", *sp);
			i++;
		}
	pr_cont("\n");
}

void ptrace_disable(struct task_struct *child)
{
}

long arch_ptrace(struct task_struct *child, long request, unsigned long addr, unsigned long data)
{
	return -EIO;
}
