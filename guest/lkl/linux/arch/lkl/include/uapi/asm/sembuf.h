/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
#ifndef _UAPI_ASM_LKL_SEMBUF_H
#define _UAPI_ASM_LKL_SEMBUF_H

#include <asm/ipcbuf.h>

/* As on x86-64, where each time is followed by padding that the generic structure lacks. */
struct semid64_ds {
	struct ipc64_perm sem_perm;
	long		sem_otime;
	unsigned long	__unused1;
	long		sem_ctime;
	unsigned long	__unused2;
	unsigned long	sem_nsems;
	unsigned long	__unused3;
	unsigned long	__unused4;
};

#endif
