// SPDX-License-Identifier: MPL-2.0

// Package spt runs a Solo5 unikernel of target spt as a process of its own
// that has nothing in it but the guest: no Go, no C library, no stack of the
// kernel's making, no vdso, no environment, and nine system calls, each bound
// to the guest's own descriptors.
//
// Go prepares everything as data: a table of system calls with their arguments
// and expected results, the boot information and the filter. A launcher of one
// page, a static ELF in a memfd, is exec'd; its code walks the table and then
// jumps into the guest. docs/tender.md has the order and the reasons.
package spt
