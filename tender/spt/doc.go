// SPDX-License-Identifier: MPL-2.0

// Package spt runs a Solo5 unikernel of target spt as a process that contains
// only the guest: no Go runtime, no C library, no stack from exec, no vdso and no
// environment. A seccomp filter allows nine system calls (a tenth for disks that
// the guest may flush) on the guest's own file descriptors.
//
// Go prepares the launch as data: a table of system calls with their arguments
// and expected results, the boot information, and the filter. Then it executes a
// launcher, which is a static ELF file of one page in a memfd. The launcher
// performs the table's system calls and jumps into the guest. docs/tender.md
// explains the order.
package spt
