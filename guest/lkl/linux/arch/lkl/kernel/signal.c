// SPDX-License-Identifier: GPL-2.0-only
/*
 * Signals. They are delivered when a system call returns, or when a program goes on
 * that was preempted. The frame has the layout that libcs for x86-64 expect. After
 * a system call it holds only the control words of the floating point state, as a
 * function call preserves no more. After a preemption it holds all of that state.
 */
#include <linux/errno.h>
#include <linux/resume_user_mode.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/signal.h>
#include <linux/syscalls.h>
#include <linux/uaccess.h>
#include <asm/fpstate.h>
#include <asm/lkl.h>
#include <asm/syscall.h>
#include <asm/ucontext.h>

/* The ABI lets a function use this many bytes below the stack pointer. */
#define RED_ZONE 128

struct rt_sigframe {
	unsigned long restorer;
	struct ucontext uc;
	siginfo_t info;
	struct thread_struct control;
};

/* The control words that a handler starts with. */
static const struct thread_struct lkl_initial_thread = INIT_THREAD;

static void lkl_save_context(struct sigcontext *sc, const struct pt_regs *regs)
{
	memset(sc, 0, sizeof(*sc));
	sc->r8 = regs->r8;
	sc->r9 = regs->r9;
	sc->r10 = regs->a6;
	sc->r12 = regs->r12;
	sc->r13 = regs->r13;
	sc->r14 = regs->r14;
	sc->r15 = regs->r15;
	sc->di = regs->di;
	sc->si = regs->si;
	sc->bp = regs->bp;
	sc->bx = regs->bx;
	sc->dx = regs->dx;
	sc->ax = regs->ax;
	sc->cx = regs->cx;
	sc->sp = regs->sp;
	sc->ip = regs->ip;
	sc->oldmask = current->blocked.sig[0];
}

void lkl_restore_context(struct pt_regs *regs, const struct sigcontext *sc)
{
	regs->r8 = sc->r8;
	regs->r9 = sc->r9;
	regs->r12 = sc->r12;
	regs->r13 = sc->r13;
	regs->r14 = sc->r14;
	regs->r15 = sc->r15;
	regs->di = sc->di;
	regs->si = sc->si;
	regs->bp = sc->bp;
	regs->bx = sc->bx;
	regs->dx = sc->dx;
	regs->ax = sc->ax;
	regs->cx = sc->cx;
	regs->sp = sc->sp;
	regs->ip = sc->ip;
	regs->orig_ax = -1;
}

/* The handler gets the initial control words, the interrupted code its own again. */
static void lkl_save_control_words(struct rt_sigframe __user *frame)
{
	lkl_switch_user();
	lkl_store_control_words((struct thread_struct __force *)&frame->control);
	lkl_load_control_words(&lkl_initial_thread);
}

static void lkl_restore_control_words(const struct rt_sigframe __user *frame)
{
	struct thread_struct control;

	if (copy_from_user(&control, &frame->control, sizeof(control)))
		return;
	/* Loading a reserved bit would fault. */
	control.mxcsr &= 0xffff;
	lkl_load_control_words(&control);
}

/*
 * The handler interrupted a program that was preempted. The program goes on in
 * lkl_resume() (entry.S), which loads all registers from the frame. Another signal
 * may come first: its frame lies below this one.
 */
static void lkl_resume_context(struct pt_regs *regs, struct rt_sigframe __user *frame)
{
	regs->bx = (unsigned long)&frame->uc.uc_mcontext;
	regs->sp = (unsigned long)frame;
	regs->ip = (unsigned long)lkl_resume;
	regs->orig_ax = -1;
}

/*
 * The handler returned to the restorer, which takes that address off the frame,
 * and the restorer called the kernel: regs->sp is just above the address.
 */
asmlinkage long sys_rt_sigreturn(void)
{
	struct pt_regs *regs = current_pt_regs();
	struct rt_sigframe __user *frame = (void __user *)(regs->sp - sizeof(long));
	struct sigcontext sc;
	sigset_t set;

	current->restart_block.fn = do_no_restart_syscall;
	if (copy_from_user(&sc, &frame->uc.uc_mcontext, sizeof(sc)) ||
	    copy_from_user(&set, &frame->uc.uc_sigmask, sizeof(set))) {
		force_sig(SIGSEGV);
		return 0;
	}
	set_current_blocked(&set);
	restore_altstack(&frame->uc.uc_stack);
	if (sc.fpstate) {
		lkl_resume_context(regs, frame);
		return regs->ax;
	}
	lkl_restore_control_words(frame);
	lkl_restore_context(regs, &sc);
	return regs->ax;
}

/*
 * Stores the registers and the floating point state of the interrupted program. A
 * preempted program stores all of them, with the state at @fpstate.
 */
static void lkl_save_frame(struct rt_sigframe __user *frame, void __user *fpstate,
			   const struct pt_regs *regs)
{
	struct sigcontext *sc = (struct sigcontext __force *)&frame->uc.uc_mcontext;
	struct sigcontext *preempted = current->thread.preempted;

	lkl_save_context(sc, regs);
	if (preempted) {
		memcpy((void __force *)fpstate, preempted->fpstate,
		       lkl_fpstate_size(preempted->fpstate));
		*sc = *preempted;
		sc->oldmask = current->blocked.sig[0];
		sc->fpstate = (void __force *)fpstate;
		current->thread.preempted = NULL;
	}
	lkl_save_control_words(frame);
}

/* Returns where the floating point state of a frame below @sp goes: @sp if there is no such state. */
static unsigned long lkl_fpstate_place(unsigned long sp)
{
	struct sigcontext *preempted = current->thread.preempted;

	if (!preempted)
		return sp;
	return ALIGN_DOWN(sp - lkl_fpstate_size(preempted->fpstate), FPSTATE_ALIGN);
}

static int lkl_setup_frame(struct ksignal *ksig, struct pt_regs *regs)
{
	unsigned long sp = sigsp(regs->sp - RED_ZONE - 2 * sizeof(long), ksig);
	unsigned long fpstate = lkl_fpstate_place(sp);
	sigset_t *set = sigmask_to_save();
	struct rt_sigframe __user *frame;

	frame = (void __user *)(((fpstate - sizeof(*frame)) & ~15UL) - sizeof(long));
	if (!access_ok(frame, sp - (unsigned long)frame) ||
	    !(ksig->ka.sa.sa_flags & SA_RESTORER))
		return -EFAULT;
	/* The frame must not overwrite the memory below an alternate stack. */
	if ((__on_sig_stack(sp) || on_sig_stack(regs->sp)) && !__on_sig_stack((unsigned long)frame))
		return -EFAULT;
	memset((void __force *)&frame->uc, 0, sizeof(frame->uc));
	if (__save_altstack(&frame->uc.uc_stack, regs->sp) ||
	    __put_user((unsigned long)ksig->ka.sa.sa_restorer, &frame->restorer) ||
	    __copy_to_user(&frame->uc.uc_sigmask, set, sizeof(*set)) ||
	    copy_siginfo_to_user(&frame->info, &ksig->info))
		return -EFAULT;
	lkl_save_frame(frame, (void __user *)fpstate, regs);

	/*
	 * lkl_restore (entry.S) pushes the address to go to below the stack
	 * pointer and returns: the handler runs as if it had been called.
	 */
	regs->sp = (unsigned long)frame;
	regs->ip = (unsigned long)ksig->ka.sa.sa_handler;
	regs->di = ksig->sig;
	regs->si = (unsigned long)&frame->info;
	regs->dx = (unsigned long)&frame->uc;
	regs->ax = 0;
	return 0;
}

/*
 * Makes the program call lkl_syscall() again, with the same arguments, when it
 * goes on.
 *
 * musl decides by the address at which a signal interrupts a thread whether the
 * thread may be cancelled: between __cp_begin and __cp_end (syscall_cp.s) the call
 * has had no effect yet. An interrupted call must therefore be repeated from a
 * return address inside that range, so regs->ip goes back to the call instruction.
 * A direct call is five bytes: e8 and the distance to lkl_syscall() from the next
 * instruction. Decoding it backwards is safe only because both are compared: the
 * opcode and the target.
 *
 * Otherwise the program got there by a jump (a tail call) or an indirect call,
 * whose length is not known. None of these is a cancellation point. Then the
 * program goes on at lkl_syscall() itself, with the return address on its stack.
 */
static void lkl_restart_syscall(struct pt_regs *regs)
{
	const u8 *call = (const u8 *)regs->ip - 5;
	s32 offset;

	memcpy(&offset, call + 1, sizeof(offset));
	if (*call == 0xe8 && regs->ip + offset == (unsigned long)lkl_syscall) {
		regs->ip -= 5;
	} else {
		regs->ip = (unsigned long)lkl_syscall;
		regs->sp -= sizeof(long);
	}
	regs->orig_ax = -1;
}

/* @ka: the handler that will run first, or NULL. */
static void lkl_handle_restart(struct pt_regs *regs, const struct k_sigaction *ka)
{
	if ((long)regs->orig_ax < 0)
		return;
	switch ((long)regs->ax) {
	case -ERESTARTSYS:
		if (ka && !(ka->sa.sa_flags & SA_RESTART)) {
			regs->ax = -EINTR;
			break;
		}
		fallthrough;
	case -ERESTARTNOINTR:
		lkl_restart_syscall(regs);
		break;
	case -ERESTARTNOHAND:
		if (ka)
			regs->ax = -EINTR;
		else
			lkl_restart_syscall(regs);
		break;
	case -ERESTART_RESTARTBLOCK:
		if (ka) {
			regs->ax = -EINTR;
		} else {
			regs->di = __NR_restart_syscall;
			lkl_restart_syscall(regs);
		}
		break;
	}
}

void lkl_do_signal(struct pt_regs *regs)
{
	struct ksignal ksig;

	if (get_signal(&ksig)) {
		lkl_handle_restart(regs, &ksig.ka);
		signal_setup_done(lkl_setup_frame(&ksig, regs), &ksig, 0);
		return;
	}
	lkl_handle_restart(regs, NULL);
	restore_saved_sigmask();
}
