// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// start starts a tool whose fsync does nothing. e2fsprogs writes an image through
// to the disk each time: for a copy just made that is all of it, and takes as long
// as making it, or seconds on a slow disk; what is to outlast a crash of the host is
// synced by us. The filter belongs to one thread, which ends after the start.
func start(cmd *exec.Cmd) error {
	return startWith(cmd, func() error { return nil })
}

// startWith does so on a thread that was prepared for it, and is not used again.
func startWith(cmd *exec.Cmd, prepare func() error) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // the first thread lives as long as the process
			defer runtime.UnlockOSThread()
			started <- startWith(cmd, prepare)
			return
		}
		if err := prepare(); err != nil {
			started <- err
			return
		}
		ignoreSync()
		started <- cmd.Start()
	}()
	return <-started
}

var auditArch = map[string]uint32{
	"amd64": unix.AUDIT_ARCH_X86_64,
	"arm64": unix.AUDIT_ARCH_AARCH64,
}

// ignoreSync has fsync and fdatasync succeed without effect in this thread and in
// what it starts. Without seccomp in the kernel they do what they always do.
func ignoreSync() {
	const (
		load     = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		ifEqual  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		give     = unix.BPF_RET | unix.BPF_K
		number   = 0 // offsets in struct seccomp_data
		arch     = 4
		succeeds = unix.SECCOMP_RET_ERRNO // with errno 0
	)
	filter := []unix.SockFilter{
		{Code: load, K: arch},
		{Code: ifEqual, K: auditArch[runtime.GOARCH], Jf: 3},
		{Code: load, K: number},
		{Code: ifEqual, K: unix.SYS_FSYNC, Jt: 2},
		{Code: ifEqual, K: unix.SYS_FDATASYNC, Jt: 1},
		{Code: give, K: unix.SECCOMP_RET_ALLOW},
		{Code: give, K: succeeds},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != nil {
		return
	}
	_, _, _ = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
}
