/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ways into the kernel and between its tasks: the start of the guest, a system
 * call, which is a function call here, a switch of tasks, the first steps of a new
 * task, and the preemption of a program by a signal of the host.
 */
#include <linux/linkage.h>
#include <asm/asm-offsets.h>
#include <asm/fpstate.h>

	.text

/*
 * int solo5_app_main(const struct solo5_start_info *info)
 *
 * rsp points into the last page of memory, so the end of that page is the end of
 * memory. The kernel switches to the stack of init_task and never returns.
 */
SYM_CODE_START(solo5_app_main)
	leaq	4095(%rsp), %rsi
	andq	$-4096, %rsi
	movq	$init_thread_union + STACK_SIZE - REGS_SIZE, %rsp
	xorl	%ebp, %ebp
	call	lkl_start_kernel
	ud2
SYM_CODE_END(solo5_app_main)

/*
 * long lkl_syscall(long nr, long a1, ..., long a6)
 *
 * a6 is on the stack, as for any C function. Only the registers that a C function
 * preserves are preserved; vector registers belong to the caller. The registers
 * are stored at the top of the task's kernel stack, which the call then uses.
 */
SYM_CODE_START(lkl_syscall)
	movq	lkl_stack_regs(%rip), %rax
	movq	%rbx, REGS_BX(%rax)
	movq	%rbp, REGS_BP(%rax)
	movq	%r12, REGS_R12(%rax)
	movq	%r13, REGS_R13(%rax)
	movq	%r14, REGS_R14(%rax)
	movq	%r15, REGS_R15(%rax)
	movq	%rdi, REGS_DI(%rax)
	movq	%rsi, REGS_SI(%rax)
	movq	%rdx, REGS_DX(%rax)
	movq	%rcx, REGS_CX(%rax)
	movq	%r8, REGS_R8(%rax)
	movq	%r9, REGS_R9(%rax)
	movq	(%rsp), %r10
	movq	8(%rsp), %r11
	movq	%r10, REGS_IP(%rax)
	movq	%r11, REGS_A6(%rax)
	leaq	8(%rsp), %r10
	movq	%r10, REGS_SP(%rax)
	movq	$1, REGS_USER(%rax)
	movq	%rax, %rsp
	movq	%rax, %rdi
	call	lkl_do_syscall

	/* rsp points to the struct pt_regs from which the program goes on. */
SYM_INNER_LABEL(lkl_restore, SYM_L_LOCAL)
	movq	REGS_BX(%rsp), %rbx
	movq	REGS_BP(%rsp), %rbp
	movq	REGS_R12(%rsp), %r12
	movq	REGS_R13(%rsp), %r13
	movq	REGS_R14(%rsp), %r14
	movq	REGS_R15(%rsp), %r15
	movq	REGS_DI(%rsp), %rdi
	movq	REGS_SI(%rsp), %rsi
	movq	REGS_DX(%rsp), %rdx
	movq	REGS_CX(%rsp), %rcx
	movq	REGS_R8(%rsp), %r8
	movq	REGS_R9(%rsp), %r9
	movq	REGS_AX(%rsp), %rax
	movq	REGS_IP(%rsp), %r10
	movq	REGS_SP(%rsp), %rsp
	/*
	 * A ret matches the call in the CPU's return predictor; a jmp would not.
	 * The word below rsp is free: it held the same return address, or it is
	 * below the frame that signal.c set up.
	 */
	pushq	%r10
	ret
SYM_CODE_END(lkl_syscall)

/* struct task_struct *__switch_to(struct task_struct *prev, struct task_struct *next) */
SYM_FUNC_START(__switch_to)
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, TASK_SP(%rdi)
	movq	TASK_SP(%rsi), %rsp
	movq	%rsi, lkl_current(%rip)
	movq	TASK_STACK(%rsi), %rax
	addq	$STACK_SIZE - REGS_SIZE, %rax
	movq	%rax, lkl_stack_regs(%rip)
	movq	%rdi, %rax
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
SYM_FUNC_END(__switch_to)

/*
 * The start of a new task, from __switch_to(). rax: the previous task. rbx: the
 * function of a kernel thread, or 0; r12: its argument. rsp points to struct
 * pt_regs of the new task.
 */
SYM_CODE_START(ret_from_fork)
	movq	%rax, %rdi
	call	schedule_tail
	testq	%rbx, %rbx
	jz	1f
	movq	%r12, %rdi
	call	*%rbx
	/* A kernel thread returns only if it has executed a program: pid 1. */
1:	movq	%rsp, %rdi
	call	lkl_user_return
	jmp	lkl_restore
SYM_CODE_END(ret_from_fork)

/*
 * The handler of SIGVTALRM, on lkl_signal_stack; see preempt.c. rdx: struct ucontext
 * of the interrupted code, whose registers are all in it. Return addresses are on the
 * stack, which is aligned as for any C function.
 */
SYM_CODE_START(lkl_preempt)
	leaq	UC_MCONTEXT(%rdx), %rbx
	movq	%rbx, %rdi
	subq	$8, %rsp
	call	lkl_preempt_begin
	testq	%rax, %rax
	jz	lkl_resume
	movq	%rax, %rbx
	movq	%rax, %rsp
	call	lkl_preempt_poll
	testb	%al, %al
	jnz	lkl_resume
	movq	lkl_stack_regs(%rip), %rsp
	jmp	lkl_restore
SYM_CODE_END(lkl_preempt)

/*
 * Goes back to interrupted code. rbx: its struct sigcontext. The stack below rsp is
 * free: rsp points to the signal stack or the kernel stack, or below the frame of a
 * signal handler that has returned.
 *
 * iretq loads flags, stack and instruction pointer at once, and writes nothing to the
 * program's stack, below which a red zone may be in use.
 */
SYM_CODE_START(lkl_resume)
	movl	%ss, %eax
	pushq	%rax
	pushq	SC_SP(%rbx)
	pushq	SC_FLAGS(%rbx)
	movl	%cs, %eax
	pushq	%rax
	pushq	SC_IP(%rbx)
	movq	SC_FPSTATE(%rbx), %rcx
	cmpl	$FP_XSTATE_MAGIC1, FP_SW_RESERVED(%rcx)
	jne	1f
	movl	FP_SW_RESERVED + 8(%rcx), %eax
	movl	FP_SW_RESERVED + 12(%rcx), %edx
	xrstor64 (%rcx)
	jmp	2f
1:	fxrstor64 (%rcx)
2:	movq	SC_R8(%rbx), %r8
	movq	SC_R9(%rbx), %r9
	movq	SC_R10(%rbx), %r10
	movq	SC_R11(%rbx), %r11
	movq	SC_R12(%rbx), %r12
	movq	SC_R13(%rbx), %r13
	movq	SC_R14(%rbx), %r14
	movq	SC_R15(%rbx), %r15
	movq	SC_DI(%rbx), %rdi
	movq	SC_SI(%rbx), %rsi
	movq	SC_BP(%rbx), %rbp
	movq	SC_DX(%rbx), %rdx
	movq	SC_AX(%rbx), %rax
	movq	SC_CX(%rbx), %rcx
	movq	SC_BX(%rbx), %rbx
	iretq
SYM_CODE_END(lkl_resume)

	.section .note.GNU-stack, "", @progbits
