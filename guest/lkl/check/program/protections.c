/* SPDX-License-Identifier: MPL-2.0 */
/* Protected memory, and signals for faults. */
#define _GNU_SOURCE
#include "check.h"

#include <setjmp.h>
#include <sys/mman.h>

#define PAGE 4096

static sigjmp_buf back;
static void *volatile fault_at;

static void note_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	fault_at = info->si_addr;
	siglongjmp(back, sig);
}

/* Returns the signal that a write to the address causes, or 0. */
static int write_to(volatile char *p)
{
	struct sigaction action = { .sa_sigaction = note_fault, .sa_flags = SA_SIGINFO };
	int sig;

	OK(sigaction(SIGSEGV, &action, NULL));
	OK(sigaction(SIGBUS, &action, NULL));
	sig = sigsetjmp(back, 1);
	if (sig == 0)
		*p = 1;
	return sig;
}

static void protections_change(void)
{
	char *p = MAP(mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	OK(mprotect(p, 2 * PAGE, PROT_READ | PROT_WRITE));
	strcpy(p, "text");
	OK(mprotect(p, 2 * PAGE, PROT_READ));
	TEXT(p, "text");
	OK(mprotect(p, 2 * PAGE, PROT_READ | PROT_WRITE));
	p[0] = 'T';
	TEXT(p, "Text");
	OK(munmap(p, 2 * PAGE));
	FAILS(mprotect(p, PAGE, PROT_READ), ENOMEM);
}

static void protections_hold(void)
{
	char *p = MAP(mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	IS(write_to(p + PAGE + 5), SIGSEGV);
	TRUE(fault_at == p + PAGE + 5);
	OK(munmap(p, 2 * PAGE));
}

static void null_pointer(void)
{
	char *volatile p = NULL;

	IS(write_to(p), SIGSEGV);
	TRUE(fault_at == NULL);
}

const struct check protection_checks[] = {
	{ "protection_changes", protections_change },
	{ "protection_holds", protections_hold },
	{ "protection_null_pointer", null_pointer, true },
	{ 0 }
};
