// SPDX-License-Identifier: MPL-2.0

package bpf

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// X32Bit marks the system call numbers of the x32 ABI, which has the AUDIT_ARCH of x86-64
// (asm/unistd.h: __X32_SYSCALL_BIT).
const X32Bit = 0x40000000

// AuditArch returns the AUDIT_ARCH of this program's system calls. It is 0 for a processor
// that no filter here supports, so that a filter refuses all of its system calls.
func AuditArch() uint32 {
	switch runtime.GOARCH {
	case "amd64":
		return unix.AUDIT_ARCH_X86_64
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64
	}
	return 0
}

// InstallFilter installs p as the system call filter of all threads of this process.
func (p Program) InstallFilter() error {
	program := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(p)
	switch {
	case errno != 0:
		return errno
	case thread != 0:
		return fmt.Errorf("thread %d has another filter", thread)
	}
	return nil
}
