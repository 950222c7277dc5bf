// SPDX-License-Identifier: GPL-2.0-only
/*
 * pid 1 is the start program, which is linked with the guest (guest/lkl/start): a file /init with a few bytes that this
 * file's binary format knows stands for it. What it has to know of the kernel, and cannot by a system call, is here too.
 */
#include <linux/binfmts.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/init_syscalls.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/reboot.h>
#include <linux/sched/task_stack.h>
#include <linux/syscalls.h>
#include <linux/task_work.h>
#include <asm/arena.h>
#include <asm/lkl.h>

#define MAGIC "lkl start program\n"

extern void lkl_start_program(void);
static unsigned long stack[8192] __aligned(16);

/* How often memory ran out and somebody had to be killed, so that the start program can tell why the program ended. */
unsigned int lkl_out_of_memory;

static int memory_ran_out(struct notifier_block *nb, unsigned long unused, void *freed)
{
	lkl_out_of_memory++;
	return NOTIFY_OK;
}

static struct notifier_block oom_notifier = { .notifier_call = memory_ran_out };

/*
 * A tap that the host has removed always polls as ready, so the guest could not sleep any more. pid 1 ends the guest in
 * good order.
 */
void lkl_device_gone(const char *name)
{
	static bool told;

	if (told)
		return;
	told = true;
	pr_emerg("network device %s: the host has removed it\n", name);
	kill_cad_pid(SIGPWR, 1);
}

static int load(struct linux_binprm *bprm)
{
	int err;

	if (memcmp(bprm->buf, MAGIC, sizeof(MAGIC) - 1))
		return -ENOEXEC;
	err = begin_new_exec(bprm);
	if (err)
		return err;
	setup_new_exec(bprm);
	err = lkl_vma_start(current->mm);
	if (err)
		return err;
	finalize_exec(bprm);
	/* As after a call: the stack is aligned but for the return address. */
	start_thread(current_pt_regs(), (unsigned long)lkl_start_program, (unsigned long)(stack + ARRAY_SIZE(stack) - 1));
	return 0;
}

static struct linux_binfmt format = {
	.module = THIS_MODULE,
	.load_binary = load,
};

static int __init prepare(void)
{
	struct file *file;
	loff_t pos = 0;

	register_oom_notifier(&oom_notifier);
	register_binfmt(&format);
	file = filp_open("/init", O_CREAT | O_WRONLY, 0700);
	if (IS_ERR(file))
		return PTR_ERR(file);
	kernel_write(file, MAGIC, sizeof(MAGIC) - 1, &pos);
	fput(file);
	/* A file that is open for writing cannot be executed. */
	flush_delayed_fput();
	task_work_run();
	return 0;
}
late_initcall(prepare);
