/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_FPSTATE_H
#define _ASM_LKL_FPSTATE_H

/*
 * The floating point state in a signal frame, as x86's uapi/asm/sigcontext.h defines
 * it: an FXSAVE area. If the first word that the hardware does not use is the magic
 * number, it is an XSAVE area, and two further words hold its size and its components.
 */
#define FP_SW_RESERVED		464
#define FP_XSTATE_MAGIC1	0x46505853
#define FXSAVE_SIZE		512

/* The alignment that XSAVE needs. */
#define FPSTATE_ALIGN		64

#endif
