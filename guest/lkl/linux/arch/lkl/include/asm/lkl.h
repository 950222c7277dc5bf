/* SPDX-License-Identifier: GPL-2.0-only */
/* The interfaces between the parts of the architecture. */
#ifndef _ASM_LKL_LKL_H
#define _ASM_LKL_LKL_H

#include <linux/types.h>
#include <uapi/asm/lkl.h>

struct mm_struct;
struct pt_regs;
struct sigcontext;
struct thread_struct;
struct vm_area_struct;

/* Section boundaries, from vmlinux.lds.S. */
extern char lkl_image_start[], lkl_text_end[], lkl_rodata_end[];
extern char lkl_initdata_start[], lkl_initdata_end[];
/* The end of the code of the kernel and the bindings. The program's code follows. */
extern char lkl_kernel_text_end[];

/* In musl, if the program has cancellation points: syscall_cp.s. */
extern char __cp_begin[] __weak, __cp_end[] __weak;

/*
 * setup.c: the end of the memory that the tender reports. A command line that is too
 * long for the boot information occupies the pages from there to lkl_memory_end.
 */
extern unsigned long lkl_heap_end;
/* Handles LKL_NR_CMDLINE. */
void lkl_free_cmdline(void);

/* clock.c: the host's monotonic clock in nanoseconds, the unit of Solo5's deadlines. */
u64 lkl_clock(void);
/* The number of TSC cycles in ns nanoseconds. */
u64 lkl_clock_cycles(u64 ns);
void lkl_clock_init(void);
/* The time of the next clock event, or SOLO5_NEVER. */
u64 lkl_clock_deadline(void);
/* The clock's part of each interrupt: follows the host and runs the clock event. */
void lkl_clock_interrupt(void);

/* wall.c: checks once a second whether the host has set its time of day. */
void lkl_wall_check(u64 now);

/* irq.c: the TSC at which the next timer or device has to be polled. */
extern unsigned long lkl_poll_tsc;
/* Sets the TSC at which the next timer expires. */
void lkl_irq_set_timer(unsigned long tsc);
/* Polls timers and devices; @user: the interrupt is taken on return to a program. */
void lkl_poll_events(bool user);
/*
 * Calls ready(arg) in interrupt context when the device can be read. An idle
 * guest learns from solo5_yield() which devices are ready. A busy guest calls
 * ready() periodically, so a device may turn out to have nothing to read.
 */
void lkl_device_ready(unsigned int handle, void (*ready)(void *arg), void *arg);

/*
 * Set by a driver whose device usually answers within microseconds. An idle guest
 * calls it before it sleeps. It may poll the device, but not beyond a TSC, and
 * returns a bit for the device if that has something to read.
 */
extern u64 (*lkl_idle_poll)(unsigned long deadline);

/* reboot.c: reports that the host has removed a network device; pid 1 then ends the guest. */
void lkl_device_gone(const char *name);

/* process.c: whether pid 1 has created the task of the program. */
extern bool lkl_program_started;

/* setup.c: returns the handle of a network device in the manifest, or 0. */
unsigned int lkl_find_net_device(const char *name);

/* drivers/console.c: handles LKL_NR_STDERR. */
void lkl_stderr_offer(void);

/* drivers/block.c: handles LKL_NR_DISK. */
int lkl_disk_offer(const struct lkl_disk_offer *offer);

/* drivers/neighbors.c: handles LKL_NR_NEIGHBORS. */
int lkl_set_neighbors(const struct lkl_neighbor_addresses *n);

/*
 * arena.c: to be called before and after the page allocator takes over the
 * memory. Between the two calls no page that is freed counts as dirty.
 */
void lkl_arena_init(void);
void lkl_arena_track_dirty(void);

/* share.c: passes changes to the file systems, and unmaps all memory of the program. */
void lkl_unmap_program(const struct lkl_memory *kept);

/*
 * syscall.c: the state that neither a function call nor a system call saves: FS
 * base and floating point control words. The CPU keeps the state of the task
 * that ran user code last, and loads another one on return to user code.
 */
void lkl_switch_user(void);
void lkl_store_control_words(struct thread_struct *t);
void lkl_load_control_words(const struct thread_struct *t);
void lkl_user_return(struct pt_regs *regs);

/*
 * stack.c: the canary is a negative number of 32 bits, which an instruction that compares
 * can contain.
 */
#define LKL_STACK_CANARY	-0x51ac3b1dUL
void lkl_stack_init(struct thread_struct *t, const struct pt_regs *regs, unsigned long top);
void lkl_stack_unmapped(unsigned long addr, unsigned long len);
/* Kills the program, because the current thread has overrun its stack. */
void lkl_stack_overrun(void);

/*
 * usage.c: counts the pages that the program has mapped. The caller holds the lock of
 * the mm.
 */
void lkl_usage_init(struct mm_struct *mm);
void lkl_usage_add(const struct vm_area_struct *vma, unsigned long pages);
void lkl_usage_remove(const struct vm_area_struct *vma, unsigned long pages);

/* signal.c: delivers pending signals. */
void lkl_do_signal(struct pt_regs *regs);
/* signal.c: sets the registers that struct pt_regs has; no system call is restarted. */
void lkl_restore_context(struct pt_regs *regs, const struct sigcontext *sc);

/* preempt.c: returns the size of the floating point state in a signal frame. */
unsigned long lkl_fpstate_size(const void *fpstate);

/* entry.S: loads all registers from the struct sigcontext that rbx points to. */
void lkl_resume(void);

/* The system calls that have no generic nommu version; table in syscall.c. */
long lkl_mmap(unsigned long addr, unsigned long len, unsigned long prot,
	      unsigned long flags, unsigned long fd, unsigned long off);
long lkl_munmap(unsigned long addr, unsigned long len);
long lkl_mremap(unsigned long addr, unsigned long old, unsigned long new,
		unsigned long flags, unsigned long to);
long lkl_mprotect(unsigned long addr, unsigned long len, unsigned long prot);
long lkl_mlock(unsigned long addr, unsigned long len);
long lkl_mlock2(unsigned long addr, unsigned long len, int flags);
long lkl_munlock(unsigned long addr, unsigned long len);
long lkl_mlockall(int flags);
long lkl_munlockall(void);
long lkl_madvise(unsigned long addr, unsigned long len, int advice);
long lkl_msync(unsigned long addr, unsigned long len, int flags);
long lkl_fsync(unsigned int fd);
long lkl_fdatasync(unsigned int fd);
long lkl_sync(void);
long lkl_syncfs(int fd);
long lkl_sync_file_range(int fd, loff_t offset, loff_t bytes, unsigned int flags);
long lkl_fallocate(int fd, int mode, loff_t offset, loff_t len);
long lkl_ftruncate(unsigned int fd, unsigned long length);
long lkl_truncate(const char __user *path, long length);
long lkl_copy_file_range(int from, loff_t __user *from_pos, int to, loff_t __user *to_pos,
			 size_t len, unsigned int flags);
long lkl_memfd_create(const char __user *uname, unsigned int flags);

#endif
