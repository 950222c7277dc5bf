// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package sandbox

import (
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
)

// allowed are the system calls of a program without condition. Files are also protected by
// Landlock and by the program's user, so that the calls need no check of their arguments.
var allowed = []uint32{
	// Files
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_PWRITE64,
	unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_CLOSE, unix.SYS_LSEEK, unix.SYS_FCNTL, unix.SYS_DUP, unix.SYS_DUP2, unix.SYS_DUP3,
	unix.SYS_STAT, unix.SYS_FSTAT, unix.SYS_LSTAT, unix.SYS_NEWFSTATAT, unix.SYS_STATX, unix.SYS_FSTATFS,
	unix.SYS_ACCESS, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_READLINK, unix.SYS_READLINKAT,
	unix.SYS_FALLOCATE, unix.SYS_FTRUNCATE, unix.SYS_FADVISE64, unix.SYS_GETCWD, unix.SYS_UMASK, unix.SYS_GETDENTS64,
	// Memory and threads
	unix.SYS_BRK, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MREMAP, unix.SYS_MPROTECT, unix.SYS_MADVISE,
	unix.SYS_FUTEX, unix.SYS_SET_ROBUST_LIST, unix.SYS_SET_TID_ADDRESS, unix.SYS_RSEQ, unix.SYS_ARCH_PRCTL,
	// The process itself. It is the only one of its user, so tgkill reaches no other.
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_TGKILL, unix.SYS_GETPID, unix.SYS_GETTID,
	unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETRLIMIT, unix.SYS_GETRUSAGE,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
	unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_GETRANDOM,
	// Time
	unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY, unix.SYS_TIME, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP,
	unix.SYS_TIMES, unix.SYS_ALARM,
	// The launcher executes the program under the filter. Landlock permits no other one.
	unix.SYS_EXECVE,
}

// fiemap is the ioctl FS_IOC_FIEMAP, which finds the holes of a file.
const fiemap = 0xc020660b

// filter returns the seccomp program of a confined program.
//
// A denied call fails with ENOSYS, as if the kernel did not have it. The C library then
// uses an older call, such as clone instead of clone3. Killing the program would gain
// nothing, because the call is not made, and would break tools that are linked with
// another version of the library. Calls of another architecture have other numbers, and no
// tool makes them: they kill the program.
//
// fsync and fdatasync succeed without effect. e2fsprogs syncs the image in each run. For a
// new copy this writes all of its blocks, which takes as long as making it. The callers
// sync images that must survive a crash.
func filter() bpf.Program {
	const (
		succeed = unix.SECCOMP_RET_ERRNO // with errno 0
		deny    = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	)
	var f bpf.Program
	f.Load(bpf.Arch)
	f.ReturnIf(bpf.NotEqual(unix.AUDIT_ARCH_X86_64), unix.SECCOMP_RET_KILL_PROCESS)
	f.Load(bpf.Number)
	for _, number := range []uint32{unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNC_FILE_RANGE} {
		f.ReturnIf(bpf.Equal(number), succeed)
	}
	// A new thread is allowed, a new process is not. Other flags of clone need
	// capabilities, or a process.
	f.When(bpf.Equal(unix.SYS_CLONE), func(f *bpf.Program) {
		f.Load(bpf.Low(0))
		f.ReturnIf(bpf.AnyBit(unix.CLONE_THREAD), unix.SECCOMP_RET_ALLOW)
		f.Return(deny)
	})
	f.When(bpf.Equal(unix.SYS_IOCTL), func(f *bpf.Program) {
		f.Load(bpf.Low(1))
		f.ReturnIf(bpf.Equal(fiemap), unix.SECCOMP_RET_ALLOW)
		f.Return(deny)
	})
	// The C library asks for its own limits, such as that of the stack.
	f.When(bpf.Equal(unix.SYS_PRLIMIT64), func(f *bpf.Program) {
		for _, half := range []uint32{bpf.Low(0), bpf.High(0), bpf.Low(2), bpf.High(2)} { // pid, new limit
			f.Load(half)
			f.ReturnIf(bpf.NotEqual(0), deny)
		}
		f.Return(unix.SECCOMP_RET_ALLOW)
	})
	for _, number := range allowed {
		f.ReturnIf(bpf.Equal(number), unix.SECCOMP_RET_ALLOW)
	}
	f.Return(deny)
	return f
}
