// SPDX-License-Identifier: GPL-2.0-only
/*
 * The binary format of pid 1.
 *
 * pid 1 is the start program (guest/lkl/start), which is linked with the kernel:
 * there is no file to load. The kernel executes /init as any other, so this file
 * writes one that holds a magic text, and its binary format answers to that text
 * by starting the program in the image. Nothing outside arch/lkl has to change.
 */
#include <linux/binfmts.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/init_syscalls.h>
#include <linux/sched/task_stack.h>
#include <linux/syscalls.h>
#include <linux/task_work.h>
#include <asm/arena.h>
#include <asm/lkl.h>

#define LKL_START_MAGIC "lkl start program\n"

static unsigned long lkl_start_stack[8192] __aligned(16);

static int lkl_start_load_binary(struct linux_binprm *bprm)
{
	unsigned long sp;
	int err;

	if (memcmp(bprm->buf, LKL_START_MAGIC, sizeof(LKL_START_MAGIC) - 1))
		return -ENOEXEC;
	err = begin_new_exec(bprm);
	if (err)
		return err;
	setup_new_exec(bprm);
	err = lkl_vma_init(current->mm);
	if (err)
		return err;
	finalize_exec(bprm);
	/* As after a call instruction: aligned to 16 bytes but for the return address. */
	sp = (unsigned long)(lkl_start_stack + ARRAY_SIZE(lkl_start_stack) - 1);
	start_thread(current_pt_regs(), (unsigned long)lkl_start_program, sp);
	return 0;
}

static struct linux_binfmt lkl_start_format = {
	.module = THIS_MODULE,
	.load_binary = lkl_start_load_binary,
};

static int __init lkl_start_init(void)
{
	struct file *file;
	loff_t pos = 0;

	register_binfmt(&lkl_start_format);
	file = filp_open("/init", O_CREAT | O_WRONLY, 0700);
	if (IS_ERR(file))
		return PTR_ERR(file);
	kernel_write(file, LKL_START_MAGIC, sizeof(LKL_START_MAGIC) - 1, &pos);
	fput(file);
	/* Close the file now: exec fails with ETXTBSY while it is open for writing. */
	flush_delayed_fput();
	task_work_run();
	return 0;
}
late_initcall(lkl_start_init);
