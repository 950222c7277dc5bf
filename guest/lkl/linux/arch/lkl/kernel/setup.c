// SPDX-License-Identifier: GPL-2.0-only
/* The start of the kernel, its memory, and its end. */
#include <linux/console.h>
#include <linux/cpu.h>
#include <linux/init.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/panic_notifier.h>
#include <linux/pm.h>
#include <linux/reboot.h>
#include <linux/sched/task_stack.h>
#include <linux/seq_file.h>
#include <linux/start_kernel.h>
#include <asm/sections.h>
#include <asm/setup.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

struct solo5_start_info {
	const char *cmdline;
	unsigned long heap_start;
	size_t heap_size;
};

const char *lkl_cmdline;
bool lkl_debug;
unsigned long lkl_memory_end;
unsigned long empty_zero_page[PAGE_SIZE / sizeof(unsigned long)] __page_aligned_bss;
EXPORT_SYMBOL(empty_zero_page);
struct task_struct *lkl_current = &init_task;
struct pt_regs *lkl_stack_regs;
void (*pm_power_off)(void);

extern char lkl_image_start[], _end[];

/*
 * What the kernel itself has to know of the words from the host, before there is a program to read them: its own command
 * line, and whether its messages are wanted.
 */
static void __init early_words(void)
{
	const char *p = strstr(lkl_cmdline, "LKL_BOOT_CMDLINE=");
	char *to = boot_command_line;

	if (p && (p == lkl_cmdline || p[-1] == ' ')) {
		for (p += sizeof("LKL_BOOT_CMDLINE=") - 1; *p && *p != ' '; p++) {
			if (*p == '\\' && p[1])
				p++;
			if (to < boot_command_line + COMMAND_LINE_SIZE - 1)
				*to++ = *p;
		}
	}
	*to = 0;
	/* In the JSON, whose quotes may be escaped. */
	p = strstr(lkl_cmdline, "--config");
	p = p ? strstr(p, "\"debug") : NULL;
	lkl_debug = p && p[6 + strspn(p + 6, "\\\": ")] == '1';
	if (!lkl_debug)
		console_loglevel = LOGLEVEL_WARNING;
}

void __init __noreturn lkl_start_kernel(const struct solo5_start_info *info, unsigned long memory_end)
{
	lkl_cmdline = info->cmdline;
	lkl_memory_end = memory_end & PAGE_MASK;
	lkl_stack_regs = task_pt_regs(&init_task);
	lkl_clock_init();
	start_kernel();
	unreachable();
}

void __init setup_arch(char **cmdline)
{
	unsigned long max_pfn_of_zone[MAX_NR_ZONES] = { 0 };
	unsigned long start = (unsigned long)lkl_image_start;

	early_words();
	*cmdline = boot_command_line;
	parse_early_param();
	setup_initial_init_mm(_stext, _etext, _edata, _end);

	memblock_add(start, lkl_memory_end - start);
	memblock_reserve(start, PAGE_ALIGN((unsigned long)_end) - start);
	min_low_pfn = PFN_DOWN(start);
	max_low_pfn = max_pfn = PFN_DOWN(lkl_memory_end);
	high_memory = __va(lkl_memory_end);
	max_pfn_of_zone[ZONE_NORMAL] = max_low_pfn;
	free_area_init(max_pfn_of_zone);
}

void __init mem_init(void)
{
	lkl_arena_init();
	set_max_mapnr(max_low_pfn);
	memblock_free_all();
	lkl_arena_watch();
}

/* Only data: text is read only, and pages that are free are written to. */
void free_initmem(void)
{
	extern char lkl_initdata_start[], lkl_initdata_end[];

	free_reserved_area(lkl_initdata_start, lkl_initdata_end, -1, NULL);
}

void __init init_IRQ(void)
{
}

/* /proc/interrupts: there are none with a number. */
int show_interrupts(struct seq_file *p, void *v)
{
	return 0;
}

static void *cpuinfo_start(struct seq_file *m, loff_t *pos)
{
	return *pos < 1 ? (void *)1 : NULL;
}

static void *cpuinfo_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return NULL;
}

static void cpuinfo_stop(struct seq_file *m, void *v)
{
}

static int cpuinfo_show(struct seq_file *m, void *v)
{
	seq_puts(m, "processor\t: 0\nmodel name\t: Solo5 unikernel\nflags\t\t: fpu tsc cx8 cmov mmx fxsr sse sse2 syscall nx lm\n\n");
	return 0;
}

const struct seq_operations cpuinfo_op = {
	.start = cpuinfo_start,
	.next = cpuinfo_next,
	.stop = cpuinfo_stop,
	.show = cpuinfo_show,
};

void machine_halt(void)
{
	solo5_exit(0);
}

void machine_power_off(void)
{
	solo5_exit(0);
}

/* A panic ends here (CONFIG_PANIC_TIMEOUT is negative), or a program that restarts its machine: the host has to do that. */
void machine_restart(char *cmd)
{
	solo5_exit(atomic_read(&panic_cpu) == PANIC_CPU_INVALID ? LKL_EXIT_RESTART : LKL_EXIT_PANIC);
}
