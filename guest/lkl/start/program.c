/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Starts the program: builds its first stack as a kernel does on exec, creates its
 * process, and sets the user, the working directory and the root there.
 */
#include "start.h"

#define _GNU_SOURCE
#include <cpuid.h>
#include <elf.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

/* The entry of libc (crt1.c), which expects the stack that lay_out() builds. */
extern char lkl_program[];
/* From the linker script. */
extern const char __tls_start[], __tls_file_end[], __tls_end[], __tls_align[];
extern const char lkl_image_start[], _end[], __eh_frame_hdr_start[], __eh_frame_hdr_end[];
/* Its address is the value of the linker option -z stack-size, or 0. */
extern const char lkl_stack_size[];

/*
 * The default size of the stack: this, or a sixteenth of the memory if that is less, but
 * not less than the program was linked with.
 */
#define STACK_MAX (8L << 20)
/* The kernel uses a page below the stack to notice that the stack is too small. */
#define GUARD 4096

static Elf64_Phdr headers[4];
static const struct config *config;
static long uid, gid;

/*
 * Tenders do not load the program headers of the image. libc needs headers to find
 * thread-local storage, unwind tables and the size of the stacks of threads.
 */
static void make_headers(void)
{
	headers[0] = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = (long)lkl_image_start,
		.p_memsz = _end - lkl_image_start, .p_align = 4096,
	};
	headers[1] = (Elf64_Phdr){
		.p_type = PT_TLS, .p_flags = PF_R, .p_vaddr = (long)__tls_start,
		.p_filesz = __tls_file_end - __tls_start, .p_memsz = __tls_end - __tls_start,
		.p_align = (long)__tls_align,
	};
	headers[2] = (Elf64_Phdr){
		.p_type = PT_GNU_EH_FRAME, .p_flags = PF_R, .p_vaddr = (long)__eh_frame_hdr_start,
		.p_memsz = __eh_frame_hdr_end - __eh_frame_hdr_start, .p_align = 4,
	};
	headers[3] = (Elf64_Phdr){
		.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W, .p_memsz = (long)lkl_stack_size,
	};
}

/* The default size of the program's stack. */
static long default_stack_size(long memory)
{
	long size = memory / 16 < STACK_MAX ? memory / 16 : STACK_MAX;

	return size < (long)lkl_stack_size ? (long)lkl_stack_size : size;
}

static long *put_aux(long *p, long name, long value)
{
	*p++ = name;
	*p++ = value;
	return p;
}

/* The size of all strings in a list, with their NULs. */
static size_t strings_size(const struct strings *s)
{
	size_t size = 0;

	for (size_t i = 0; i < s->n; i++)
		size += strlen(s->list[i]) + 1;
	return size;
}

/*
 * Copies the strings to *to, one after the other, and their addresses to p. Returns
 * the place of the next address.
 */
static long *put_strings(long *p, const struct strings *s, char **to)
{
	for (size_t i = 0; i < s->n; i++) {
		*p++ = (long)*to;
		*to = stpcpy(*to, s->list[i]) + 1;
	}
	return p;
}

/* argv[0] */
static const char *name(void)
{
	return config->argv0 ? config->argv0 : "solo5";
}

/*
 * The space that a signal takes on a stack, without that of the handler: a preempted
 * program has all registers there.
 */
static long signal_stack_size(void)
{
	unsigned int a, registers, c, d, frame = 1024;

	if (!__get_cpuid(1, &a, &registers, &c, &d) || !(c & bit_OSXSAVE) ||
	    !__get_cpuid_count(0xd, 0, &a, &registers, &c, &d))
		registers = 512; /* FXSAVE */
	return frame + registers;
}

static long *put_auxv(long *p, char *random)
{
	p = put_aux(p, AT_PHDR, (long)headers);
	p = put_aux(p, AT_PHENT, sizeof(headers[0]));
	p = put_aux(p, AT_PHNUM, ARRAY_SIZE(headers));
	p = put_aux(p, AT_PAGESZ, 4096);
	p = put_aux(p, AT_CLKTCK, 100);
	p = put_aux(p, AT_UID, uid);
	p = put_aux(p, AT_EUID, uid);
	p = put_aux(p, AT_GID, gid);
	p = put_aux(p, AT_EGID, gid);
	p = put_aux(p, AT_SECURE, 0);
	p = put_aux(p, AT_RANDOM, (long)random);
	p = put_aux(p, AT_EXECFN, (long)name());
	p = put_aux(p, AT_MINSIGSTKSZ, signal_stack_size());
	return put_aux(p, AT_NULL, 0);
}

/* The size of argc, argv, the environment and the auxiliary vector. */
static size_t table_size(const struct cmdline *line)
{
	return (1 + 1 + line->args.n + 1 + line->env.n + 1 + 2 * 16) * sizeof(long);
}

/* The size of the strings of argv and the environment. */
static size_t text_size(const struct cmdline *line)
{
	return strlen(name()) + 1 + strings_size(&line->args) + strings_size(&line->env);
}

/*
 * Puts argc, argv, the environment and the auxiliary vector at the top of a stack,
 * and the strings above them: the environment follows the arguments without a gap,
 * because programs that change their process title write over both.
 */
static long *lay_out(char *top, const struct cmdline *line)
{
	char *random = top - 16, *strings = random - text_size(line);
	long *start, *p;

	CALL(SYS_getrandom, random, 16, 0);
	make_headers();
	start = p = (long *)((uintptr_t)(strings - table_size(line)) & ~63UL);
	*p++ = 1 + line->args.n;
	*p++ = (long)strings;
	strings = stpcpy(strings, name()) + 1;
	p = put_strings(p, &line->args, &strings);
	*p++ = 0;
	p = put_strings(p, &line->env, &strings);
	*p++ = 0;
	put_auxv(p, random);
	return start;
}

/* Ends the program's process. pid 1 then ends the guest with the same status. */
static _Noreturn void fail(const char *what, const char *value, long err)
{
	say("lkl: ", what, value ? value : "", ": ", error_text(err), NULL);
	for (;;)
		CALL(SYS_exit_group, LKL_EXIT_START);
}

/* Runs in the new process, on its stack. */
static void become_program(long *stack)
{
	const char *slash = strrchr(name(), '/');
	uint64_t no_signals = 0;
	long err;

	CALL(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, 0, 8);
	CALL(SYS_setsid);
	CALL(SYS_prctl, PR_SET_NAME, slash ? slash + 1 : name());
	/* There is no input. Open it before chroot: the new root may have no /dev. */
	CALL(SYS_close, 0);
	CALL(SYS_open, "/dev/null", O_RDONLY);
	CALL(SYS_chroot, "/root");
	CALL(SYS_chdir, "/");
	err = CALL(SYS_chdir, config->workdir ? config->workdir : "/");
	if (err < 0)
		fail("working directory ", config->workdir, err);
	if (gid) {
		CALL(SYS_setgroups, 1, &(unsigned int){ gid });
		err = CALL(SYS_setgid, gid);
	}
	if (uid && err == 0)
		err = CALL(SYS_setuid, uid);
	if (err < 0)
		fail("cannot become user ", config->uid, err);
	__asm__ volatile("mov %0, %%rsp\n\tjmp *%1" : : "r"(stack), "r"(lkl_program) : "memory");
	__builtin_unreachable();
}

/*
 * clone() whose child calls fn(arg) on the stack. fn and arg are in registers that
 * a system call preserves, so the child finds them there.
 */
long spawn(long flags, void *stack, void (*fn)(long *), long *arg, char *low);
__asm__(".text\n"
	"spawn:\n"
	"	push %rbx\n"
	"	push %rbp\n"
	"	mov %rdx, %rbx\n"
	"	mov %rcx, %rbp\n"
	"	mov %rsi, %rdx\n"
	"	mov %rdi, %rsi\n"
	"	mov $56, %edi\n"	/* SYS_clone */
	"	xor %ecx, %ecx\n"
	"	push %r8\n"		/* the lowest address of the stack */
	"	xor %r8d, %r8d\n"
	"	xor %r9d, %r9d\n"
	"	call lkl_syscall\n"
	"	test %rax, %rax\n"
	"	jnz 1f\n"
	"	mov %rbp, %rdi\n"
	"	xor %ebp, %ebp\n"
	"	call *%rbx\n"
	"1:	add $8, %rsp\n"
	"	pop %rbp\n"
	"	pop %rbx\n"
	"	ret\n");

long program_start(const struct config *c, struct cmdline *line)
{
	long size = config_number("stack", c->stack, 0, 1L << 50), pid, *first;
	char *stack;
	unsigned long info[16] = { 0 };

	config = c;
	/* The largest 32-bit number means "unchanged" in setuid() and setgid(). */
	uid = config_number("uid", c->uid, 0, (1L << 32) - 2);
	gid = config_number("gid", c->gid, 0, (1L << 32) - 2);
	CALL(SYS_sysinfo, info);
	if (size <= 0)
		size = default_stack_size((long)info[4]);
	size = (size + (long)(text_size(line) + table_size(line)) + 65535) & ~65535L;
	stack = memory_map(GUARD + size);
	if (!stack) {
		say("lkl: no memory for the program's stack", NULL);
		finish(LKL_EXIT_START);
	}
	first = lay_out(stack + GUARD + size, line);
	cmdline_free(line);
	pid = spawn(CLONE_VM | SIGCHLD | (long)LKL_CLONE_STACK_LOW, (void *)((uintptr_t)first & ~15UL),
		    become_program, first, stack + GUARD);
	if (pid < 0) {
		say("lkl: the program cannot be started: ", error_text(pid), NULL);
		finish(LKL_EXIT_START);
	}
	return pid;
}
