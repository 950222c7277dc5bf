/* SPDX-License-Identifier: MPL-2.0 */
#ifndef SOLO5_HVT_CPU_H
#define SOLO5_HVT_CPU_H

/*
 * Loads descriptor tables such that an exception prints a line on the console
 * and ends the guest with SOLO5_EXIT_ABORT.
 */
void solo5__cpu_init(void);

#endif
