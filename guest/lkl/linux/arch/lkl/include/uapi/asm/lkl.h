/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The interface between the kernel and the start program (guest/lkl/start),
 * which is pid 1 and linked into the same image.
 */
#ifndef _UAPI_ASM_LKL_LKL_H
#define _UAPI_ASM_LKL_LKL_H

/*
 * System calls that only pid 1 may make. The numbers lie outside the table of
 * x86-64, whose calls all programs may make.
 */
#define LKL_NR_EXIT	0x4c4b0001	/* end the guest with a status; unmount all before */
#define LKL_NR_UNMAP	0x4c4b0002	/* unmap all memory but a struct lkl_memory */
#define LKL_NR_DISK	0x4c4b0010	/* take a struct lkl_disk_offer */
#define LKL_NR_FSGSBASE	0x4c4b0011	/* the host lets the guest use wrfsbase */
#define LKL_NR_NEIGHBORS 0x4c4b0012	/* take a struct lkl_neighbor_addresses */
#define LKL_NR_CMDLINE	0x4c4b0013	/* free the memory of lkl_cmdline */
#define LKL_NR_STDERR	0x4c4b0014	/* the tender offers a second output for stderr */

/* LKL_NR_UNMAP: memory of pid 1. */
struct lkl_memory {
	unsigned long start, size;
};

/*
 * LKL_NR_DISK: the features of a disk that the tender offers beyond Solo5's ABI.
 * Valid only before the disk is used. Returns -ENODEV if there is no such disk, -EINVAL if
 * the disk cannot be used in this way.
 */
struct lkl_disk_offer {
	const char *name;	/* in the Solo5 manifest */
	unsigned long transfer;	/* bytes that one host call moves; 0: one sector */
	unsigned long flush;	/* 1: the tender can flush the host's disk */
};

/* Linux cuts the names of disks to this length (DISK_NAME_LEN, without NUL). */
#define LKL_DISK_NAME_MAX	31

/*
 * LKL_NR_NEIGHBORS: the guest's addresses and those by which it reaches tasks that have
 * the same addresses. IPv4 addresses are mapped to IPv6. Zero leaves an address out.
 */
struct lkl_neighbor_addresses {
	int interface;		/* index of the interface that leads to the neighbors */
	unsigned char own[16], own6[16];
	unsigned char loopback[16], loopback6[16];	/* stand for 127.0.0.1 and ::1 */
	unsigned char address[16], address6[16];	/* stand for own and own6 */
};

/*
 * The upper half of the first argument of clone(): the sixth one is the lowest address of
 * the new stack, and the page below belongs to the stack, too. The kernel uses that page to
 * notice that the stack is too small.
 */
#define LKL_CLONE_STACK_LOW	(0x4c4bUL << 32)

/*
 * SIOCDEVPRIVATE of a network device. Valid only while the interface is down.
 * LKL_SIOC_OFFLOAD: the host puts a virtio header before each frame.
 * LKL_SIOC_LONG_FRAMES: frames may be longer than the MTU.
 */
#define LKL_SIOC_OFFLOAD	0x89f0
#define LKL_SIOC_LONG_FRAMES	0x89f1

/* Sent to pid 1 when the host has removed a network device: SIGPWR. */
#define LKL_SIG_DEVICE_GONE	30

/* The longest frame of the control device. A read() of /dev/control returns one. */
#define LKL_CONTROL_FRAME_MAX	1514

/*
 * Exit statuses of the guest that do not come from its program; see
 * docs/guest-reference.md. The host interprets them: a status never changes its meaning.
 */
#define LKL_EXIT_CONFIG		121	/* invalid command line or configuration */
#define LKL_EXIT_ROOT		122	/* no root file system */
#define LKL_EXIT_NETWORK	123	/* a network interface failed or is gone */
#define LKL_EXIT_START		124	/* the program could not be started */
#define LKL_EXIT_RESTART	125	/* the program asked for a restart: reboot() */
#define LKL_EXIT_PANIC		255	/* the kernel panicked */

/* The guest's command line, as the tender passed it. A long one is writable. */
extern char *lkl_cmdline;

/* The longest command line that the tender may place in read-only memory. */
#define LKL_CMDLINE_SHORT	8191

/* How often the kernel had to kill a task because memory ran out. */
extern unsigned int lkl_out_of_memory;

/* The entry of the kernel for programs: a system call is a function call. */
long lkl_syscall(long nr, long a1, long a2, long a3, long a4, long a5, long a6);

/*
 * The handler of SIGVTALRM for a tender that preempts the program, and the stack
 * that it must run on.
 */
void lkl_preempt(void);
#define LKL_SIGNAL_STACK_SIZE	32768
extern char lkl_signal_stack[LKL_SIGNAL_STACK_SIZE];

/* The entry of the start program. */
void lkl_start_program(void);

#endif
