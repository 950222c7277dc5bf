// SPDX-License-Identifier: GPL-2.0-only
/* System calls: the table, what is not there, and the way back to the program. */
#include <linux/linkage.h>
#include <linux/resume_user_mode.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/syscalls.h>
#include <asm/lkl.h>
#include <asm/solo5.h>
#include <asm/syscall.h>

#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003

/* Calls of the start program alone: its private numbers begin here. */
#define LKL_NR_EXIT 0x4c4b0001	/* end the guest with a status; everything is unmounted */
#define LKL_NR_UNMAP 0x4c4b0002	/* write back and close the files that are mapped; the program has ended */
#define LKL_NR_DISK 0x4c4b0010	/* struct lkl_disk_offer: what the tender offers for a disk */

#define LKL_NR_FSGSBASE 0x4c4b0011	/* the host lets programs set the thread pointer themselves */

/* Whose thread pointer and floating point control words the processor has. */
static struct task_struct *user_task;

static bool fsgsbase;

/* By the instruction in some 10 ns where the host allows it, which faults elsewhere; else the host is asked, in 250. */
static void set_fsbase(unsigned long base)
{
	if (fsgsbase)
		asm volatile("wrfsbase %0" : : "r"(base) : "memory");
	else
		solo5_set_tls_base(base);
}

static long lkl_arch_prctl(long option, unsigned long arg)
{
	switch (option) {
	case ARCH_SET_FS:
		if (arg >= lkl_memory_end)
			return -EPERM;
		current->thread.fsbase = arg;
		set_fsbase(arg);
		return 0;
	case ARCH_GET_FS:
		return put_user(current->thread.fsbase, (unsigned long __user *)arg);
	}
	return -EINVAL;
}

/*
 * There is one address space: a copy of it cannot be had, and a child that borrows it to exec has nothing to exec. Only
 * threads are made, and by the start program (pid 1) the program itself.
 */
static long lkl_clone(unsigned long flags, unsigned long sp, int __user *parent, int __user *child, unsigned long tls)
{
	if (!(flags & CLONE_VM) || !sp || (!(flags & CLONE_THREAD) && !is_global_init(current)))
		return -ENOSYS;
	return sys_clone(flags, sp, parent, child, tls);
}

/* No heap that grows in place: libcs then use mmap alone. */
static long lkl_brk(unsigned long addr)
{
	return 0;
}

static long lkl_zero(void)
{
	return 0;
}

long lkl_mmap(unsigned long addr, unsigned long len, unsigned long prot, unsigned long flags, unsigned long fd,
	      unsigned long off);
long lkl_munmap(unsigned long addr, unsigned long len);
long lkl_mremap(unsigned long addr, unsigned long old, unsigned long new, unsigned long flags, unsigned long to);
long lkl_mprotect(unsigned long addr, unsigned long len, unsigned long prot);
long lkl_memfd_create(const char __user *uname, unsigned int flags);
long lkl_mlock(unsigned long addr, unsigned long len);
long lkl_madvise(unsigned long addr, unsigned long len, int advice);
long lkl_msync(unsigned long addr, unsigned long len, int flags);
asmlinkage long sys_rt_sigreturn(void);

#define sys_arch_prctl		lkl_arch_prctl
#define sys_brk			lkl_brk
#define sys_clone		lkl_clone
#define sys_clone3		sys_ni_syscall
#define sys_execve		sys_ni_syscall
#define sys_execveat		sys_ni_syscall
#define sys_fork		sys_ni_syscall
#define sys_vfork		sys_ni_syscall
#define sys_ioperm		sys_ni_syscall
#define sys_iopl		sys_ni_syscall
#define sys_modify_ldt		sys_ni_syscall
#define sys_mmap		lkl_mmap
#define sys_munmap		lkl_munmap
#define sys_mremap		lkl_mremap
#define sys_mprotect		lkl_mprotect
#define sys_madvise		lkl_madvise
#define sys_msync		lkl_msync
#define sys_memfd_create	lkl_memfd_create
#define sys_mlock		lkl_mlock
#define sys_mlock2		lkl_mlock
#define sys_munlock		lkl_mlock
#define sys_mlockall		lkl_zero
#define sys_munlockall		lkl_zero

#define __SYSCALL(nr, name)	[nr] = (lkl_syscall_t)(void *)name,
const lkl_syscall_t lkl_syscall_table[NR_syscalls] = {
#include <asm/syscalls_64.h>
};

void lkl_store_control_words(struct thread_struct *t)
{
	asm volatile("stmxcsr %0" : "=m"(t->mxcsr));
	asm volatile("fnstcw %0" : "=m"(t->fcw));
}

void lkl_load_control_words(const struct thread_struct *t)
{
	asm volatile("ldmxcsr %0" : : "m"(t->mxcsr));
	asm volatile("fldcw %0" : : "m"(t->fcw));
}

void lkl_switch_user(void)
{
	if (user_task == current)
		return;
	if (user_task)
		lkl_store_control_words(&user_task->thread);
	lkl_load_control_words(&current->thread);
	if (!user_task || user_task->thread.fsbase != current->thread.fsbase)
		set_fsbase(current->thread.fsbase);
	user_task = current;
}

/* A task that ends: its registers are nobody's any more. */
void exit_thread(struct task_struct *task)
{
	if (user_task == task)
		user_task = NULL;
}

void lkl_user_return(struct pt_regs *regs)
{
	unsigned long work;

	while ((work = READ_ONCE(current_thread_info()->flags) & _TIF_EXIT_WORK)) {
		if (work & _TIF_NEED_RESCHED)
			schedule();
		if (work & (_TIF_SIGPENDING | _TIF_NOTIFY_SIGNAL))
			lkl_do_signal(regs);
		if (work & _TIF_NOTIFY_RESUME)
			resume_user_mode_work(regs);
	}
	lkl_switch_user();
}

static long private_call(unsigned long nr, long arg)
{
	switch (nr) {
	case LKL_NR_EXIT:
		solo5_exit(arg);
	case LKL_NR_UNMAP:
		lkl_unmap_files();
		return 0;
	case LKL_NR_FSGSBASE:
		fsgsbase = true;
		return 0;
	case LKL_NR_DISK:
		return lkl_disk_offer((const struct lkl_disk_offer *)arg);
	}
	return -ENOSYS;
}

/* The C half of lkl_syscall(). */
void lkl_do_syscall(struct pt_regs *regs)
{
	unsigned long nr = regs->di;

	regs->orig_ax = nr;
	if (likely(nr < NR_syscalls)) {
		regs->ax = -ENOSYS;
		regs->ax = lkl_syscall_table[nr](regs->si, regs->dx, regs->cx, regs->r8, regs->r9, regs->a6);
	} else {
		regs->ax = is_global_init(current) ? private_call(nr, regs->si) : -ENOSYS;
	}
	if (unlikely(lkl_tsc() >= lkl_poll_tsc))
		lkl_poll_events(true);
	if (unlikely(READ_ONCE(current_thread_info()->flags) & _TIF_EXIT_WORK || user_task != current))
		lkl_user_return(regs);
}
