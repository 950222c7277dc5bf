// SPDX-License-Identifier: GPL-2.0-only
/* The start of the kernel: command line, memory and /proc/cpuinfo. */
#include <linux/console.h>
#include <linux/cpu.h>
#include <linux/init.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/sched/task_stack.h>
#include <linux/seq_file.h>
#include <linux/start_kernel.h>
#include <asm/sections.h>
#include <asm/setup.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

/* As guest/solo5/include/solo5.h has it. */
struct solo5_start_info {
	char *cmdline;
	unsigned long heap_start;
	size_t heap_size;
};

char *lkl_cmdline;
unsigned long lkl_heap_end, lkl_memory_end;
unsigned long empty_zero_page[PAGE_SIZE / sizeof(unsigned long)] __page_aligned_bss;
EXPORT_SYMBOL(empty_zero_page);
struct task_struct *lkl_current = &init_task;
struct pt_regs *lkl_stack_regs;

/*
 * Copies the value of the variable LKL_BOOT_CMDLINE, which is the kernel's own
 * command line. Like all words of the guest's command line it may hold escaped
 * spaces.
 */
static void __init lkl_read_boot_cmdline(void)
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
}

/*
 * Whether --config has "debug":"1". The start program reads the JSON properly,
 * but it does so after the first messages. The quotes may be escaped here.
 */
static bool __init lkl_wants_messages(void)
{
	const char *p = strstr(lkl_cmdline, "--config");

	p = p ? strstr(p, "\"debug") : NULL;
	return p && p[6 + strspn(p + 6, "\\\": ")] == '1';
}

/* Called by entry.S. */
void __init __noreturn lkl_start_kernel(const struct solo5_start_info *info,
					unsigned long memory_end)
{
	lkl_cmdline = info->cmdline;
	lkl_heap_end = memory_end & PAGE_MASK;
	lkl_memory_end = lkl_heap_end;
	if ((unsigned long)lkl_cmdline >= lkl_heap_end)
		lkl_memory_end = PAGE_ALIGN((unsigned long)lkl_cmdline + strlen(lkl_cmdline) + 1);
	lkl_stack_regs = task_pt_regs(&init_task);
	lkl_clock_init();
	start_kernel();
	unreachable();
}

void __init setup_arch(char **cmdline)
{
	unsigned long max_pfn_of_zone[MAX_NR_ZONES] = { 0 };
	unsigned long start = (unsigned long)lkl_image_start;

	lkl_read_boot_cmdline();
	if (!lkl_wants_messages())
		console_loglevel = LOGLEVEL_WARNING;
	*cmdline = boot_command_line;
	parse_early_param();
	setup_initial_init_mm(_stext, _etext, _edata, _end);

	/* The image is memory too, so that virt_to_page() works on static data. */
	memblock_add(start, lkl_memory_end - start);
	memblock_reserve(start, PAGE_ALIGN((unsigned long)_end) - start);
	memblock_reserve(lkl_heap_end, lkl_memory_end - lkl_heap_end);
	min_low_pfn = PFN_DOWN(start);
	max_low_pfn = PFN_DOWN(lkl_memory_end);
	max_pfn = max_low_pfn;
	high_memory = __va(lkl_memory_end);
	max_pfn_of_zone[ZONE_NORMAL] = max_low_pfn;
	free_area_init(max_pfn_of_zone);
}

/* Memory that the kernel needs besides the image until it runs a program. */
#define LKL_BOOT_MEMORY SZ_2M

/* No console is registered yet. The status is that of a program that cannot be started. */
static void __init lkl_check_memory(void)
{
	unsigned long least = (unsigned long)_end + LKL_BOOT_MEMORY;
	char line[96];
	int n;

	if (lkl_heap_end >= least)
		return;
	n = scnprintf(line, sizeof(line), "lkl: not enough memory: %lu MB, at least %lu are needed\n",
		      lkl_heap_end / SZ_1M, DIV_ROUND_UP(least, SZ_1M));
	solo5_console_write(line, n);
	solo5_exit(LKL_EXIT_START);
}

void __init mem_init(void)
{
	lkl_check_memory();
	lkl_arena_init();
	set_max_mapnr(max_low_pfn);
	memblock_free_all();
	lkl_arena_track_dirty();
}

/* Only data: init text is read-only, and the allocator writes to free pages. */
void free_initmem(void)
{
	free_reserved_area(lkl_initdata_start, lkl_initdata_end, -1, NULL);
}

void lkl_free_cmdline(void)
{
	static char empty[1];

	if ((unsigned long)lkl_cmdline >= lkl_heap_end)
		free_reserved_area((void *)lkl_heap_end, (void *)lkl_memory_end, 0, NULL);
	lkl_cmdline = empty;
}

unsigned int lkl_find_net_device(const char *name)
{
	struct solo5_device dev;
	unsigned int i;

	for (i = 1; i <= solo5_device_count(); i++)
		if (solo5_device(i, &dev) == SOLO5_R_OK && dev.type == SOLO5_DEVICE_NET &&
		    !strcmp(dev.name, name))
			return i;
	return 0;
}

static void *lkl_cpuinfo_start(struct seq_file *m, loff_t *pos)
{
	return *pos < 1 ? (void *)1 : NULL;
}

static void *lkl_cpuinfo_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return NULL;
}

static void lkl_cpuinfo_stop(struct seq_file *m, void *v)
{
}

static int lkl_cpuinfo_show(struct seq_file *m, void *v)
{
	seq_puts(m, "processor\t: 0\nmodel name\t: Solo5 unikernel\n");
	seq_puts(m, "flags\t\t: fpu tsc cx8 cmov mmx fxsr sse sse2 syscall nx lm\n\n");
	return 0;
}

const struct seq_operations cpuinfo_op = {
	.start = lkl_cpuinfo_start,
	.next = lkl_cpuinfo_next,
	.stop = lkl_cpuinfo_stop,
	.show = lkl_cpuinfo_show,
};
