/* SPDX-License-Identifier: MPL-2.0 */
/* The program: its stack as a kernel lays it out, its process, its identity. */
#include "start.h"

#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

/* The libc's entry, which expects the stack below. */
extern char lkl_program[];
/* From the linker script. */
extern const char __tls_start[], __tls_file_end[], __tls_end[], __tls_align[];
extern const char lkl_image_start[], _end[], __eh_frame_hdr_start[], __eh_frame_hdr_end[];

/* Of the stack a program gets: this, or a sixteenth of the memory if that is less. */
#define STACK_MAX (8L << 20)

static Elf64_Phdr headers[3];
static const struct config *config;
static long uid, gid;

/* Program headers are not loaded: these say where thread-local storage and unwind tables are. */
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
}

static long *put(long *p, long name, long value)
{
	*p++ = name;
	*p++ = value;
	return p;
}

/* Bytes of the strings of a list, with their ends. */
static size_t strings_size(char *const *list)
{
	size_t size = 0;

	for (; *list; list++)
		size += strlen(*list) + 1;
	return size;
}

/* Copies strings to *to, one after the other, and their addresses to p; returns where the next address goes. */
static long *put_strings(long *p, char *const *list, char **to)
{
	for (; *list; list++) {
		*p++ = (long)strcpy(*to, *list);
		*to += strlen(*list) + 1;
	}
	return p;
}

static long *put_auxv(long *p, char *random)
{
	p = put(p, AT_PHDR, (long)headers);
	p = put(p, AT_PHENT, sizeof(headers[0]));
	p = put(p, AT_PHNUM, sizeof(headers) / sizeof(headers[0]));
	p = put(p, AT_PAGESZ, 4096);
	p = put(p, AT_CLKTCK, 100);
	p = put(p, AT_UID, uid);
	p = put(p, AT_EUID, uid);
	p = put(p, AT_GID, gid);
	p = put(p, AT_EGID, gid);
	p = put(p, AT_SECURE, 0);
	p = put(p, AT_RANDOM, (long)random);
	p = put(p, AT_EXECFN, (long)"solo5");
	return put(p, AT_NULL, 0);
}

/*
 * argc, argv, environment and auxiliary vector, at the top of a stack. Above them lie the strings, those of the arguments
 * and then those of the environment without a gap: programs that change their title write there.
 */
static long *lay_out(char *top, struct words *w)
{
	static char *const name[] = { "solo5", NULL };
	size_t size = (1 + 1 + w->n_args + 1 + w->n_env + 1 + 2 * 16) * sizeof(long);
	char *random = top - 16, *strings;
	long *start, *p;

	CALL(SYS_getrandom, random, 16, 0);
	make_headers();
	strings = random - strings_size(name) - strings_size(w->args) - strings_size(w->env);
	start = p = (long *)((uintptr_t)(strings - size) & ~63UL);
	*p++ = 1 + w->n_args;
	p = put_strings(p, name, &strings);
	p = put_strings(p, w->args, &strings);
	*p++ = 0;
	p = put_strings(p, w->env, &strings);
	*p++ = 0;
	put_auxv(p, random);
	return start;
}

static _Noreturn void end(const char *what, const char *value, long err)
{
	say("lkl: ", what, value ? value : "", ": ", reason(err), NULL);
	for (;;)
		CALL(SYS_exit_group, EXIT_START);
}

/* In the new process, on its stack: everything that is its own. */
static void become_program(long *stack)
{
	uint64_t no_signals = 0;
	long err;

	CALL(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, 0, 8);
	CALL(SYS_setsid);
	CALL(SYS_prctl, PR_SET_NAME, "program");
	/* No input. The root may be one that has no /dev. */
	CALL(SYS_close, 0);
	CALL(SYS_open, "/dev/null", O_RDONLY);
	CALL(SYS_chroot, "/root");
	CALL(SYS_chdir, "/");
	err = CALL(SYS_chdir, config->workdir ? config->workdir : "/");
	if (err < 0)
		end("working directory ", config->workdir, err);
	if (gid) {
		CALL(SYS_setgroups, 1, &(unsigned int){ gid });
		err = CALL(SYS_setgid, gid);
	}
	if (uid && err == 0)
		err = CALL(SYS_setuid, uid);
	if (err < 0)
		end("cannot become user ", config->uid, err);
	__asm__ volatile("mov %0, %%rsp\n\tjmp *%1" : : "r"(stack), "r"(lkl_program) : "memory");
	__builtin_unreachable();
}

/*
 * long spawn(long flags, void *stack, void (*fn)(long *), long *arg): clone() whose child calls fn(arg) on that stack.
 * The child finds both in registers that the kernel keeps.
 */
long spawn(long flags, void *stack, void (*fn)(long *), long *arg);
__asm__(".text\n"
	"spawn:\n"
	"	push %rbx\n"
	"	push %rbp\n"
	"	mov %rdx, %rbx\n"
	"	mov %rcx, %rbp\n"
	"	mov %rsi, %rdx\n"
	"	mov %rdi, %rsi\n"
	"	mov $56, %edi\n"
	"	xor %ecx, %ecx\n"
	"	xor %r8d, %r8d\n"
	"	xor %r9d, %r9d\n"
	"	push %r9\n"
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

long program_start(const struct config *c, struct words *w)
{
	long size = setting("stack", c->stack, 0, 1L << 50), pid, *first;
	char *stack;
	unsigned long info[16] = { 0 };

	config = c;
	/* The last number stands for "unchanged" in the kernel's calls. */
	uid = setting("uid", c->uid, 0, (1L << 32) - 2);
	gid = setting("gid", c->gid, 0, (1L << 32) - 2);
	CALL(SYS_sysinfo, info);
	if (size <= 0)
		size = (long)info[4] / 16 < STACK_MAX ? (long)info[4] / 16 : STACK_MAX;
	size = (size + 65535) & ~65535L;
	stack = (char *)CALL(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if ((unsigned long)stack > -4096UL) {
		say("lkl: no memory for the program's stack", NULL);
		finish(EXIT_START);
	}
	first = lay_out(stack + size, w);
	pid = spawn(CLONE_VM | SIGCHLD, (void *)((uintptr_t)first & ~15UL), become_program, first);
	if (pid < 0) {
		say("lkl: the program cannot be started: ", reason(pid), NULL);
		finish(EXIT_START);
	}
	return pid;
}
