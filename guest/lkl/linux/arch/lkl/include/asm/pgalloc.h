/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_PGALLOC_H
#define _ASM_LKL_PGALLOC_H
#endif
