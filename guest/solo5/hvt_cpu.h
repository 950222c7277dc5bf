/* SPDX-License-Identifier: MPL-2.0 */
#ifndef SOLO5_HVT_CPU_H
#define SOLO5_HVT_CPU_H

/*
 * Sets up the processor's tables so that an exception ends the guest with a
 * line on the console and SOLO5_EXIT_ABORT.
 */
void solo5__cpu_init(void);

#endif
