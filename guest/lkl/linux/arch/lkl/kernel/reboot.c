// SPDX-License-Identifier: GPL-2.0-only
/* The end of the guest, and the events that make pid 1 end it. */
#include <linux/init.h>
#include <linux/mmzone.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/panic_notifier.h>
#include <linux/pm.h>
#include <linux/reboot.h>
#include <linux/sched/signal.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

/* How long the kernel waits for the end of a program that the OOM killer has killed. */
#define LKL_OOM_WAIT (30 * HZ)

void (*pm_power_off)(void);

unsigned int lkl_out_of_memory;

void machine_halt(void)
{
	solo5_exit(0);
}

void machine_power_off(void)
{
	solo5_exit(0);
}

/*
 * Called after a panic (CONFIG_PANIC_TIMEOUT is negative), and when the program
 * calls reboot(). The guest cannot start itself again: the host has to.
 */
void machine_restart(char *cmd)
{
	bool panicked = atomic_read(&panic_cpu) != PANIC_CPU_INVALID;

	solo5_exit(panicked ? LKL_EXIT_PANIC : LKL_EXIT_RESTART);
}

/*
 * A tap device that the host has removed polls as ready forever, so the guest
 * could never sleep again. pid 1 unmounts the file systems and ends the guest.
 */
void lkl_device_gone(const char *name)
{
	static bool reported;

	if (reported)
		return;
	reported = true;
	pr_emerg("network device %s: the host has removed it\n", name);
	kill_cad_pid(LKL_SIG_DEVICE_GONE, 1);
}

/* Whether the OOM killer has a process to kill. */
static bool lkl_oom_finds_process(void)
{
	struct task_struct *p, *t;
	bool found = false;

	rcu_read_lock();
	for_each_process_thread(p, t)
		if (t->mm && !(t->flags & PF_KTHREAD) && !is_global_init(t) &&
		    !tsk_is_oom_victim(t))
			found = true;
	rcu_read_unlock();
	return found;
}

/*
 * The OOM killer gives the reserve of free memory to one thread of the program only. This
 * thread may wait for another thread, or for a kernel thread, that lacks memory.
 */
static void lkl_oom_open_reserve(void)
{
	struct zone *zone;

	for_each_populated_zone(zone)
		zone->_watermark[WMARK_MIN] = 0;
}

/*
 * Called before the OOM killer selects a process. pid 1 reads the counter to report why
 * the program was killed.
 *
 * The OOM killer does not wait for the end of the program, because pid 1 shares its memory:
 * it would find no other process, and panic. Allocations wait here instead, until pid 1 has
 * freed the memory of the program.
 */
static int lkl_oom_notify(struct notifier_block *nb, unsigned long unused, void *data)
{
	static unsigned long deadline;
	unsigned long *freed = data;

	lkl_out_of_memory++;
	if (!lkl_program_started || lkl_oom_finds_process())
		return NOTIFY_OK;
	if (!deadline) {
		deadline = jiffies + LKL_OOM_WAIT;
		lkl_oom_open_reserve();
	}
	schedule_timeout_uninterruptible(1);
	if (time_before(jiffies, deadline))
		*freed = 1;
	return NOTIFY_OK;
}

static struct notifier_block lkl_oom_notifier = { .notifier_call = lkl_oom_notify };

static int __init lkl_oom_init(void)
{
	return register_oom_notifier(&lkl_oom_notifier);
}
late_initcall(lkl_oom_init);
