/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_LKL_H
#define _ASM_LKL_LKL_H

/* What the parts of the architecture tell each other. */
#include <linux/types.h>

struct pt_regs;
struct thread_struct;

/* The words that the tender passed, for the start program; see guest/lkl/start. */
extern const char *lkl_cmdline;
/* Whether --config asks for the kernel's messages. */
extern bool lkl_debug;

/* Nanoseconds of the host's monotonic clock, which Solo5's deadlines are in too. */
u64 lkl_clock(void);
void lkl_clock_init(void);
/* Now and then, as an interrupt: whether the host's time of day has been set. */
void lkl_wall_look(u64 now);

/* The TSC at which there is something to look at, at the latest. */
extern unsigned long lkl_poll_tsc;
/* Looks: runs timers and devices as interrupts. user: a program was interrupted, not the kernel. */
void lkl_poll_events(bool user);

/*
 * Calls ready(arg) as an interrupt handler when the device can be read. solo5_yield() tells in an idle guest; in a busy
 * one ready is called now and then without knowing.
 */
void lkl_device_ready(unsigned int handle, void (*ready)(void *arg), void *arg);

/* The network device's host end is gone, and the guest with it. */
void lkl_device_gone(const char *name);

/* What the start program tells of a disk, before it is used: what the tender offers for it beyond Solo5's ABI. */
struct lkl_disk_offer {
	const char *name;
	unsigned long transfer;	/* bytes that one call to the host moves; 0: a sector */
	unsigned long flush;	/* 1: the host's disk can be flushed */
};
/* -ENODEV: there is no such disk; -EINVAL: it cannot do so. */
int lkl_disk_offer(const struct lkl_disk_offer *offer);

/* Before and after the page allocator gets its memory. Until the second, free memory is as the host gave it, zero. */
void lkl_arena_init(void);
void lkl_arena_watch(void);
extern unsigned long *lkl_dirty_pages;

/*
 * The registers that a function call does not save, and so neither does a system call: the thread pointer and the floating
 * point control words. The processor keeps those of the thread that ran last until another one goes on.
 */
void lkl_switch_user(void);
void lkl_store_control_words(struct thread_struct *t);
void lkl_load_control_words(const struct thread_struct *t);

void lkl_user_return(struct pt_regs *regs);
void lkl_do_signal(struct pt_regs *regs);

/* Ends all mappings of files. */
void lkl_unmap_files(void);

/* The guest's exit statuses that are not the program's; docs/guests.md has the list. */
#define LKL_EXIT_RESTART 125
#define LKL_EXIT_PANIC 255

#endif
