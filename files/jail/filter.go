// SPDX-License-Identifier: MPL-2.0

package jail

import (
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
)

// allowedCalls are the system calls that a confined server makes with any arguments. None
// creates a socket or a process, executes a program, or changes mounts, namespaces or users.
var allowedCalls = []uint32{
	// Files. The root directory and Landlock limit their effect.
	unix.SYS_OPENAT, unix.SYS_CLOSE, unix.SYS_STATX, unix.SYS_FSTATFS, unix.SYS_READLINKAT,
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_PWRITEV2, unix.SYS_LSEEK, unix.SYS_GETDENTS64,
	unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_COPY_FILE_RANGE,
	unix.SYS_MKDIRAT, unix.SYS_SYMLINKAT, unix.SYS_LINKAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT2,
	unix.SYS_FCHMODAT, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT, unix.SYS_UMASK,
	unix.SYS_FGETXATTR, unix.SYS_FSETXATTR, unix.SYS_FLISTXATTR, unix.SYS_FREMOVEXATTR,
	// The socket of the guest.
	unix.SYS_RECVFROM, unix.SYS_SHUTDOWN,
	// A thread lays down a capability, and takes it up again. It cannot get another one.
	unix.SYS_CAPGET, unix.SYS_CAPSET,
	// Go's runtime.
	unix.SYS_FUTEX, unix.SYS_MADVISE, unix.SYS_MUNMAP, unix.SYS_NANOSLEEP, unix.SYS_SCHED_YIELD,
	unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGACTION, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_GETRLIMIT, unix.SYS_CLOCK_GETTIME, unix.SYS_GETRANDOM,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

// The actions for a call that is not allowed. ENOSYS stands for a kernel without the call,
// which Go's runtime and other code are prepared for. EPERM is for known calls with other
// arguments. Calls of another architecture have other numbers, and no Go program makes them.
const (
	refuseCall      = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	refuseArguments = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	allowCall       = unix.SECCOMP_RET_ALLOW
	kill            = unix.SECCOMP_RET_KILL_PROCESS
)

// filter returns the system call filter of a server with a PID.
func filter(pid int) bpf.Program {
	var p bpf.Program
	p.Load(bpf.Arch)
	p.ReturnIf(bpf.NotEqual(bpf.AuditArch()), kill)
	p.Load(bpf.Number)
	p.ReturnIf(bpf.AtLeast(bpf.X32Bit), kill)
	for _, number := range allowedCalls {
		p.ReturnIf(bpf.Equal(number), allowCall)
	}
	// New threads, but no new processes and no new program code.
	allowIf(&p, unix.SYS_CLONE, bpf.Low(0), bpf.AnyBit(unix.CLONE_THREAD))
	allowIf(&p, unix.SYS_MMAP, bpf.Low(2), bpf.Below(unix.PROT_EXEC)) // PROT_READ and PROT_WRITE are lower bits
	// Signals to threads of this process.
	allowIf(&p, unix.SYS_TGKILL, bpf.Low(0), bpf.Equal(uint32(pid)))
	allowIf(&p, unix.SYS_FCNTL, bpf.Low(1), bpf.Equal(unix.F_DUPFD_CLOEXEC))
	// FIFOs, sockets and regular files, but no device nodes.
	allowNodes(&p)
	// Answers on the connected socket, without an address.
	p.When(bpf.Equal(unix.SYS_SENDTO), func(p *bpf.Program) {
		for _, half := range []uint32{bpf.High(4), bpf.Low(4)} {
			p.Load(half)
			p.ReturnIf(bpf.NotEqual(0), refuseArguments)
		}
		p.Return(allowCall)
	})
	p.Return(refuseCall)
	return p
}

// allowIf allows a system call if the condition holds for an argument of 32 bits.
func allowIf(p *bpf.Program, number, argument uint32, c bpf.Condition) {
	p.When(bpf.Equal(number), func(p *bpf.Program) {
		p.Load(argument)
		p.ReturnIf(c, allowCall)
		p.Return(refuseArguments)
	})
}

// allowNodes allows mknodat with the types of files that are no devices. The mode has 16
// bits, of which the highest four are the type.
func allowNodes(p *bpf.Program) {
	p.When(bpf.Equal(unix.SYS_MKNODAT), func(p *bpf.Program) {
		p.Load(bpf.Low(2))
		for _, kind := range []uint32{unix.S_IFIFO, unix.S_IFREG, unix.S_IFSOCK} {
			p.When(bpf.AtLeast(kind), func(p *bpf.Program) {
				p.ReturnIf(bpf.Below(kind+unix.S_IFIFO), allowCall)
			})
		}
		p.Return(refuseArguments)
	})
}
