// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
)

// allowedCalls are the system calls that a confined executor makes with any arguments.
// None of them opens a file, creates a socket, starts a program or names a process.
var allowedCalls = []uint32{
	// The executor's descriptors.
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_CLOSE, unix.SYS_PPOLL,
	unix.SYS_FSYNC, unix.SYS_FTRUNCATE, unix.SYS_RENAMEAT, unix.SYS_UNLINKAT,
	unix.SYS_ACCEPT4, unix.SYS_GETSOCKOPT, unix.SYS_RECVFROM,
	// The end of the guest.
	unix.SYS_WAITID, unix.SYS_WAIT4,
	// Go's runtime.
	unix.SYS_FUTEX, unix.SYS_MADVISE, unix.SYS_MUNMAP, unix.SYS_NANOSLEEP, unix.SYS_SCHED_YIELD,
	unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGACTION, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_CLOCK_GETTIME, unix.SYS_GETRANDOM,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

// The actions for a call that is not allowed. The filter kills nothing, because the end
// of an executor ends its guest. ENOSYS stands for a kernel without the call, which Go's
// runtime and other code are prepared for. EPERM is for known calls with other arguments.
const (
	refuseCall      = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	refuseArguments = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	allowCall       = unix.SECCOMP_RET_ALLOW
)

// filter returns the system call filter of an executor with a PID and a pidfd of its guest.
func filter(pid, guest int) bpf.Program {
	var p bpf.Program
	p.Load(bpf.Arch)
	p.ReturnIf(bpf.NotEqual(bpf.AuditArch()), refuseCall)
	p.Load(bpf.Number)
	p.ReturnIf(bpf.AtLeast(bpf.X32Bit), refuseCall)
	for _, number := range allowedCalls {
		p.ReturnIf(bpf.Equal(number), allowCall)
	}
	// New threads, but no new processes and no new program code.
	allowArgument(&p, unix.SYS_CLONE, bpf.Low(0), bpf.AnyBit(unix.CLONE_THREAD))
	allowArgument(&p, unix.SYS_MMAP, bpf.Low(2), bpf.Below(unix.PROT_EXEC)) // PROT_READ and PROT_WRITE are lower bits
	// Signals to threads of this process, and to the guest.
	allowArgument(&p, unix.SYS_TGKILL, bpf.Low(0), bpf.Equal(uint32(pid)))
	allowArgument(&p, unix.SYS_PIDFD_SEND_SIGNAL, bpf.Low(0), bpf.Equal(uint32(guest)))
	// The control device, which is a connected socket. The address is a pointer.
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

// allowArgument allows a system call if the condition holds for an argument of 32 bits.
func allowArgument(p *bpf.Program, number, argument uint32, c bpf.Condition) {
	p.When(bpf.Equal(number), func(p *bpf.Program) {
		p.Load(argument)
		p.ReturnIf(c, allowCall)
		p.Return(refuseArguments)
	})
}
