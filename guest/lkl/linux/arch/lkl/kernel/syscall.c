// SPDX-License-Identifier: GPL-2.0-only
/*
 * System calls. Programs make them by calling lkl_syscall() (entry.S) with the
 * numbers and structures of x86-64. This file has the table, the calls that the
 * architecture replaces or lacks, and the return to the program.
 */
#include <linux/linkage.h>
#include <linux/resume_user_mode.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/syscalls.h>
#include <asm/lkl.h>
#include <asm/solo5.h>
#include <asm/syscall.h>

/* From x86's uapi/asm/prctl.h. */
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003

/* The task whose FS base and floating point control words are in the CPU. */
static struct task_struct *lkl_user_task;

static bool lkl_have_fsgsbase;

/*
 * wrfsbase takes some 10 ns, the host call 250. The instruction faults where the
 * host has not enabled it, and only the host knows: pid 1 calls LKL_NR_FSGSBASE.
 */
static void lkl_set_fsbase(unsigned long base)
{
	if (lkl_have_fsgsbase)
		asm volatile("wrfsbase %0" : : "r" (base) : "memory");
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
		lkl_set_fsbase(arg);
		return 0;
	case ARCH_GET_FS:
		return put_user(current->thread.fsbase, (unsigned long __user *)arg);
	}
	return -EINVAL;
}

/*
 * There is one address space. fork() would have to copy it to the same
 * addresses, and a child of vfork() would have nothing to exec. A program can
 * create threads only; pid 1 may also create the program's process.
 */
static long lkl_clone(unsigned long flags, unsigned long sp, int __user *parent,
		      int __user *child, unsigned long tls)
{
	if (!(flags & CLONE_VM) || !sp)
		return -ENOSYS;
	if (!(flags & CLONE_THREAD) && !is_global_init(current))
		return -ENOSYS;
	return sys_clone(flags, sp, parent, child, tls);
}

/* No heap that grows in place: libc then uses mmap() alone. */
static long lkl_brk(unsigned long addr)
{
	return 0;
}

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
#define sys_fsync		lkl_fsync
#define sys_fdatasync		lkl_fdatasync
#define sys_sync		lkl_sync
#define sys_syncfs		lkl_syncfs
#define sys_sync_file_range	lkl_sync_file_range
#define sys_fallocate		lkl_fallocate
#define sys_ftruncate		lkl_ftruncate
#define sys_truncate		lkl_truncate
#define sys_copy_file_range	lkl_copy_file_range
#define sys_memfd_create	lkl_memfd_create
#define sys_mlock		lkl_mlock
#define sys_mlock2		lkl_mlock2
#define sys_munlock		lkl_munlock
#define sys_mlockall		lkl_mlockall
#define sys_munlockall		lkl_munlockall

/* The cast by way of void * quiets the compiler: the functions have several types. */
#define __SYSCALL(nr, name)	[nr] = (lkl_syscall_t)(void *)name,
const lkl_syscall_t lkl_syscall_table[NR_syscalls] = {
#include <asm/syscalls_64.h>
};

void lkl_store_control_words(struct thread_struct *t)
{
	asm volatile("stmxcsr %0" : "=m" (t->mxcsr));
	asm volatile("fnstcw %0" : "=m" (t->fcw));
}

void lkl_load_control_words(const struct thread_struct *t)
{
	asm volatile("ldmxcsr %0" : : "m" (t->mxcsr));
	asm volatile("fldcw %0" : : "m" (t->fcw));
}

/*
 * The kernel uses neither FS nor floating point, so a task's state stays in the
 * CPU until another task returns to user code. If the same task returns next,
 * nothing has to be loaded.
 */
void lkl_switch_user(void)
{
	if (lkl_user_task == current)
		return;
	if (lkl_user_task)
		lkl_store_control_words(&lkl_user_task->thread);
	lkl_load_control_words(&current->thread);
	if (!lkl_user_task || lkl_user_task->thread.fsbase != current->thread.fsbase)
		lkl_set_fsbase(current->thread.fsbase);
	lkl_user_task = current;
}

/* Forget a task that ends, or lkl_switch_user() would store to freed memory. */
void exit_thread(struct task_struct *task)
{
	if (lkl_user_task == task)
		lkl_user_task = NULL;
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

/* The calls of the start program; see uapi/asm/lkl.h. */
static long lkl_private_call(unsigned long nr, long arg)
{
	switch (nr) {
	case LKL_NR_EXIT:
		solo5_exit(arg);
	case LKL_NR_UNMAP:
		lkl_unmap_program((const struct lkl_memory *)arg);
		return 0;
	case LKL_NR_FSGSBASE:
		lkl_have_fsgsbase = true;
		return 0;
	case LKL_NR_STDERR:
		lkl_stderr_offer();
		return 0;
	case LKL_NR_DISK:
		return lkl_disk_offer((const struct lkl_disk_offer *)arg);
	case LKL_NR_NEIGHBORS:
		return lkl_set_neighbors((const struct lkl_neighbor_addresses *)arg);
	case LKL_NR_CMDLINE:
		lkl_free_cmdline();
		return 0;
	}
	return -ENOSYS;
}

/* See stack.c. */
static __always_inline bool lkl_stack_is_overrun(unsigned long sp)
{
	const unsigned long *canary = current->thread.stack_canary;

	return *canary != LKL_STACK_CANARY || (unsigned long)canary - sp < PAGE_SIZE;
}

/*
 * The C half of lkl_syscall(). Under a tender without preemption (preempt.c), a
 * program keeps the CPU until one of its system calls blocks, or finds here that
 * another task is due.
 */
void lkl_do_syscall(struct pt_regs *regs)
{
	unsigned long nr = regs->di;

	regs->orig_ax = nr;
	if (unlikely(lkl_stack_is_overrun(regs->sp))) {
		lkl_stack_overrun();
		lkl_user_return(regs);
	}
	if (likely(nr < NR_syscalls)) {
		regs->ax = -ENOSYS;
		regs->ax = lkl_syscall_table[nr](regs->si, regs->dx, regs->cx,
						 regs->r8, regs->r9, regs->a6);
	} else {
		regs->ax = is_global_init(current) ? lkl_private_call(nr, regs->si) : -ENOSYS;
	}
	if (unlikely(lkl_tsc() >= lkl_poll_tsc))
		lkl_poll_events(true);
	if (unlikely(READ_ONCE(current_thread_info()->flags) & _TIF_EXIT_WORK ||
		     lkl_user_task != current))
		lkl_user_return(regs);
}
