/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Ends in one of these ways:
 *
 *	crash exit [N]		exits with status N
 *	crash abort		calls solo5_abort
 *	crash null		reads address 0
 *	crash fault		writes beyond the end of memory
 *	crash text		writes to its own code
 *	crash jump		executes its data (hvt does not prevent this)
 *	crash stack		overflows its stack
 *	crash divide		divides by zero
 *	crash opcode		executes an invalid instruction
 *	crash syscall [NR [A B C]]	spt: makes a system call, by default
 *				getpid; hvt: makes hypercall NR
 *	crash int80 [NR]	makes a 32-bit system call
 *	crash pointer		passes the host a buffer outside of memory
 *
 * If the guest survives, it prints a line and exits with status 0.
 */
#include <solo5_devices.h>
#include <stdio.h>
#include <string.h>
#include <words.h>

static uint64_t argument(const struct words *words, int i, uint64_t fallback)
{
	uint64_t value;

	if (i < words->count && parse_uint64(words->word[i], &value))
		return value;
	return fallback;
}

static void do_exit(const struct words *words)
{
	solo5_exit((int)argument(words, 1, 0));
}

static void do_abort(const struct words *words)
{
	(void)words;
	solo5_abort();
}

static void do_null(const struct words *words)
{
	uintptr_t address = 0;

	(void)words;
	__asm__ volatile("movb (%0), %%al" : : "r"(address) : "rax");
}

static void do_fault(const struct words *words)
{
	volatile char *address = (char *)0x7ffffff00000;

	(void)words;
	*address = 1;
}

static void do_text(const struct words *words)
{
	(void)words;
	*(volatile char *)(uintptr_t)do_text = 1;
}

static void do_jump(const struct words *words)
{
	static char code[] = { (char)0xc3 };	/* ret */

	(void)words;
	((void (*)(void))(uintptr_t)code)();
}

static void do_stack(const struct words *words)
{
	(void)words;
	__asm__ volatile("1: pushq $0; jmp 1b");
}

static void do_divide(const struct words *words)
{
	(void)words;
	__asm__ volatile("xorl %%ecx, %%ecx; divl %%ecx" : : : "eax", "ecx", "edx");
}

static void do_opcode(const struct words *words)
{
	(void)words;
	__asm__ volatile("ud2");
}

static void do_syscall(const struct words *words)
{
	uint64_t nr = argument(words, 1, 39);
	int64_t ret;

	if (strcmp(solo5_target(), "hvt") == 0) {
		__asm__ volatile("outl %%eax, %%dx"
				 :
				 : "a"(0), "d"((uint16_t)(0x500 + nr)));
		return;
	}
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(argument(words, 2, 0)),
			   "S"(argument(words, 3, 0)),
			   "d"(argument(words, 4, 0))
			 : "rcx", "r11", "memory");
	printf("crash: system call %lu returned %ld\n", nr, ret);
}

static void do_int80(const struct words *words)
{
	int ret;

	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "a"((int)argument(words, 1, 20))
			 : "memory");
	printf("crash: 32-bit system call returned %d\n", ret);
}

static void do_pointer(const struct words *words)
{
	(void)words;
	solo5_console_write((char *)0xfffff000, 4096);
}

static const struct {
	const char *name;
	void (*run)(const struct words *words);
} ways[] = {
	{ "exit", do_exit },	   { "abort", do_abort },
	{ "null", do_null },	   { "fault", do_fault },
	{ "text", do_text },	   { "jump", do_jump },
	{ "stack", do_stack },	   { "divide", do_divide },
	{ "opcode", do_opcode },   { "syscall", do_syscall },
	{ "int80", do_int80 },	   { "pointer", do_pointer },
};

int solo5_app_main(const struct solo5_start_info *info)
{
	const struct words *words = words_split(info->cmdline);

	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (words->count == 0 || strcmp(words->word[0], ways[i].name))
			continue;
		printf("crash: %s\n", ways[i].name);
		ways[i].run(words);
		printf("crash: still here\n");
		return SOLO5_EXIT_SUCCESS;
	}
	printf("usage: crash exit|abort|null|fault|text|jump|stack|divide|"
	       "opcode|syscall|int80|pointer\n");
	return 2;
}
