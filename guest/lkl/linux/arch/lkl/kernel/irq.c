// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts. Solo5 has none. The guest polls, and runs what is due as one
 * interrupt:
 *
 * - when it is idle, after solo5_yield() has returned (arch_cpu_idle());
 * - before a system call returns to the program (lkl_poll_events());
 * - while the program computes, if the tender sends a signal (preempt.c);
 * - in loops of the kernel that wait, and at every 128th time that interrupts
 *   are enabled (lkl_poll_in_kernel()), so that no loop waits forever.
 *
 * The TSC says when a poll is due, because reading it is cheap: a poll asks the
 * host about each device, which costs a microsecond.
 */
#include <linux/cpu.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/seq_file.h>
#include <asm/irq_regs.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

/* How often a busy guest polls its devices. */
#define LKL_DEVICE_POLL_NS 50000

unsigned long lkl_irqs_off = ARCH_IRQ_DISABLED;
unsigned int lkl_irq_enables;
unsigned long lkl_poll_tsc = ULONG_MAX;

u64 (*lkl_idle_poll)(unsigned long deadline);

static unsigned long lkl_timer_tsc = ULONG_MAX;
static unsigned long lkl_device_tsc = ULONG_MAX;

/* Indexed by the device's Solo5 handle. A manifest has at most 64 entries. */
static struct {
	void (*ready)(void *arg);
	void *arg;
} lkl_devices[64];
static unsigned int lkl_last_device;

static void lkl_irq_update_poll(void)
{
	lkl_poll_tsc = min(lkl_timer_tsc, lkl_device_tsc);
}

void lkl_irq_set_timer(unsigned long tsc)
{
	lkl_timer_tsc = tsc;
	lkl_irq_update_poll();
}

void lkl_device_ready(unsigned int handle, void (*ready)(void *arg), void *arg)
{
	lkl_devices[handle].arg = arg;
	lkl_devices[handle].ready = ready;
	lkl_last_device = max(lkl_last_device, handle);
	lkl_device_tsc = 0;
	lkl_irq_update_poll();
}

/* @ready: a bit for each device that has, or may have, something to read. */
static void lkl_interrupt(bool user, u64 ready)
{
	static struct pt_regs kernel_regs;
	struct pt_regs *old = set_irq_regs(user ? task_pt_regs(current) : &kernel_regs);
	unsigned int i;

	irq_enter();
	lkl_clock_interrupt();
	for (i = 1; i <= lkl_last_device; i++)
		if (ready & BIT_ULL(i) && lkl_devices[i].ready)
			lkl_devices[i].ready(lkl_devices[i].arg);
	if (lkl_last_device)
		lkl_device_tsc = lkl_tsc() + lkl_clock_cycles(LKL_DEVICE_POLL_NS);
	lkl_irq_update_poll();
	irq_exit();
	set_irq_regs(old);
}

void lkl_poll_events(bool user)
{
	lkl_irqs_off = ARCH_IRQ_DISABLED;
	lkl_interrupt(user, lkl_tsc() >= lkl_device_tsc ? U64_MAX : 0);
	lkl_irqs_off = ARCH_IRQ_ENABLED;
}

/*
 * Interrupts and softirqs run on the stack of the interrupted task. They must
 * not nest, or the stack would overflow.
 */
void lkl_poll_in_kernel(void)
{
	if (lkl_tsc() >= lkl_poll_tsc && !in_interrupt() && !lkl_irqs_off)
		lkl_poll_events(false);
}

void lkl_relax(void)
{
	asm volatile("pause" ::: "memory");
	lkl_poll_in_kernel();
}

void arch_cpu_idle(void)
{
	u64 ready = 0;

	if (lkl_idle_poll)
		ready = lkl_idle_poll(lkl_timer_tsc);
	if (!ready && lkl_tsc() < lkl_timer_tsc)
		solo5_yield(lkl_clock_deadline(), &ready);
	lkl_interrupt(false, ready);
	raw_local_irq_enable();
}

void __init init_IRQ(void)
{
}

/* /proc/interrupts: no interrupt has a number. */
int show_interrupts(struct seq_file *p, void *v)
{
	return 0;
}
