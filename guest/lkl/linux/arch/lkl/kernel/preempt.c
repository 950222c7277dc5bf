// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preemption. A tender with the feature "preempt" sends SIGVTALRM to the guest's
 * process while it computes, and the host runs lkl_preempt() (entry.S) on
 * lkl_signal_stack. If the signal interrupts the program and a poll is due, the
 * task enters the kernel as if the program had made a system call without effect.
 *
 * The handler never calls rt_sigreturn, which the tender's filter forbids:
 * lkl_resume() loads all registers from the host's signal frame.
 */
#include <linux/ptrace.h>
#include <linux/sched/task_stack.h>
#include <asm/fpstate.h>
#include <asm/lkl.h>
#include <asm/ptrace.h>
#include <asm/ucontext.h>

struct lkl_fpx_sw {
	u32 magic1, extended_size;
	u64 xfeatures;
};

/* The kernel stack has room for this much. AVX-512 takes 2.7 KiB. */
#define LKL_FPSTATE_MAX		4096

/* The host writes a frame below the one of an interrupted handler, so it has room for some. */
char lkl_signal_stack[LKL_SIGNAL_STACK_SIZE] __aligned(64);

unsigned long lkl_fpstate_size(const void *fpstate)
{
	const struct lkl_fpx_sw *sw = fpstate + FP_SW_RESERVED;

	return sw->magic1 == FP_XSTATE_MAGIC1 ? sw->extended_size : FXSAVE_SIZE;
}

/*
 * Whether a task may be switched away here. Before the program runs, lkl_memory_end
 * is 0 or the code is the kernel's.
 *
 * Between __cp_begin and __cp_end the program's own signal handler decides by the
 * address whether a system call was made. A signal arrives there as if it had come
 * before or after the call.
 */
static bool lkl_may_preempt(const struct sigcontext *sc)
{
	unsigned long stack = (unsigned long)task_stack_page(current);

	return sc->ip >= (unsigned long)lkl_kernel_text_end && sc->ip < lkl_memory_end &&
	       sc->sp - stack >= THREAD_SIZE &&
	       !(sc->ip >= (unsigned long)__cp_begin && sc->ip < (unsigned long)__cp_end);
}

/*
 * Called on the signal stack, with the registers in the host's frame. Copies them to
 * the task's kernel stack, which is empty while the program runs: the next signal
 * overwrites the frame. Returns the copy, or NULL if the interrupted code goes on.
 */
struct sigcontext *lkl_preempt_begin(const struct sigcontext *sc)
{
	struct pt_regs *regs = current_pt_regs();
	struct sigcontext *copy;
	unsigned long size;
	void *fpstate;

	if (lkl_tsc() < lkl_poll_tsc || !lkl_may_preempt(sc))
		return NULL;
	size = lkl_fpstate_size(sc->fpstate);
	if (size > LKL_FPSTATE_MAX)
		return NULL;
	fpstate = PTR_ALIGN_DOWN((void *)regs - size, FPSTATE_ALIGN);
	memcpy(fpstate, sc->fpstate, size);
	copy = fpstate - sizeof(*copy);
	*copy = *sc;
	copy->fpstate = fpstate;

	lkl_restore_context(regs, sc);
	regs->a6 = sc->r10;
	regs->user = 1;
	current->thread.preempted = copy;
	return copy;
}

/*
 * Called on the kernel stack, below the copy. Returns whether the program goes on
 * where it was interrupted, and not in a signal handler.
 */
bool lkl_preempt_poll(void)
{
	bool resume;

	lkl_poll_events(true);
	lkl_user_return(current_pt_regs());
	resume = current->thread.preempted;
	current->thread.preempted = NULL;
	return resume;
}
