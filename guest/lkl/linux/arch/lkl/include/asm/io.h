/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_IO_H
#define _ASM_LKL_IO_H

/* There are no memory-mapped devices and no I/O ports. */
#include <asm-generic/io.h>

#endif
