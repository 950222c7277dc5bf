// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package spt

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/bpf"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// mustEndBy runs a guest for each case. The signal must end it.
func mustEndBy(t *testing.T, signal syscall.Signal, cases map[string]func(*asm)) {
	t.Helper()
	for name, forbidden := range cases {
		t.Run(name, func(t *testing.T) {
			var code asm
			forbidden(&code)
			code.exit(77)
			exit, _ := run(t, guestOf(t, code))
			must.Eq(t, tender.Exit{Signal: signal}, exit)
		})
	}
}

func TestGuest_ForbiddenCallsKill(t *testing.T) {
	const x32 = bpf.X32Bit
	mustEndBy(t, syscall.SIGSYS, map[string]func(*asm){
		"open":             func(a *asm) { a.call(unix.SYS_OPEN, rodataBase, 0, 0) },
		"openat":           func(a *asm) { a.call(unix.SYS_OPENAT, 0, rodataBase, 0) },
		"mmap":             func(a *asm) { a.call(unix.SYS_MMAP, 0, 4096, 7, 0x22, ^uint64(0), 0) },
		"mprotect":         func(a *asm) { a.call(unix.SYS_MPROTECT, textBase, 4096, 7) },
		"munmap":           func(a *asm) { a.call(unix.SYS_MUNMAP, launcherBase, 4096) },
		"execve":           func(a *asm) { a.call(unix.SYS_EXECVE, rodataBase, 0, 0) },
		"fork":             func(a *asm) { a.call(unix.SYS_FORK) },
		"clone":            func(a *asm) { a.call(unix.SYS_CLONE, 0, 0, 0, 0, 0) },
		"kill":             func(a *asm) { a.call(unix.SYS_KILL, 1, 9) },
		"getpid":           func(a *asm) { a.call(unix.SYS_GETPID) },
		"seccomp":          func(a *asm) { a.call(unix.SYS_SECCOMP, 1, 0, dataBase) },
		"ptrace":           func(a *asm) { a.call(unix.SYS_PTRACE, 0, 0, 0, 0) },
		"io_uring_setup":   func(a *asm) { a.call(425, 8, dataBase) },
		"exit":             func(a *asm) { a.call(unix.SYS_EXIT, 0) },
		"read of stdin":    func(a *asm) { a.call(unix.SYS_READ, 0, dataBase, 1) },
		"read of console":  func(a *asm) { a.call(unix.SYS_READ, 1, dataBase, 1) },
		"write to stderr":  func(a *asm) { a.call(unix.SYS_WRITE, 2, textBase, 1) },
		"write to timer":   func(a *asm) { a.call(unix.SYS_WRITE, fdTimer, textBase, 1) },
		"write beyond int": func(a *asm) { a.call(unix.SYS_WRITE, 1<<32|1, textBase, 1) },
		"pread64":          func(a *asm) { a.call(unix.SYS_PREAD64, 0, dataBase, 512, 0) },
		"epoll of timer":   func(a *asm) { a.call(unix.SYS_EPOLL_PWAIT, fdTimer, dataBase, 1, 0, 0, 0) },
		"signal mask":      func(a *asm) { a.call(unix.SYS_EPOLL_PWAIT, fdEpoll, dataBase, 1, ^uint64(0), rodataBase, 8) },
		"timer of epoll":   func(a *asm) { a.call(unix.SYS_TIMERFD_SETTIME, fdEpoll, 1, dataBase, 0) },
		"cpu clock":        func(a *asm) { a.call(unix.SYS_CLOCK_GETTIME, unix.CLOCK_PROCESS_CPUTIME_ID, dataBase) },
		"gs base":          func(a *asm) { a.call(unix.SYS_ARCH_PRCTL, 0x1001, dataBase) },
		"x32 write":        func(a *asm) { a.call(unix.SYS_WRITE|x32, 1, textBase, 1) },
		"32-bit getpid":    func(a *asm) { a.set(rax, 20); a.bytes(0xcd, 0x80) },
		"32-bit exit":      func(a *asm) { a.set(rax, 252); a.bytes(0xcd, 0x80) },
		// exit_group has the numbers 252 (32-bit) and 231 (64-bit). A filter
		// that compares only the number would allow this call.
		"32-bit call with a 64-bit number": func(a *asm) { a.set(rax, unix.SYS_EXIT_GROUP); a.bytes(0xcd, 0x80) },
	})
}

// Recent kernels exempt two system calls from seccomp filters: uretprobe, since Linux
// 6.11, and uprobe, since 6.18. Outside of the kernel's own trampolines, the first
// raises SIGILL, and the second returns an error. Other kernels raise SIGSYS.
func TestGuest_GainsNothingFromCallsWithoutFilter(t *testing.T) {
	testenv.Need(t, testenv.Root) // to read the mappings of a process that is not dumpable
	const uretprobe, uprobe = 335, 336
	unchanged := startIdle(t, guestOf(t, idle()), tender.Jail{})
	for _, number := range []uint64{uretprobe, uprobe} {
		for name, argument := range map[string]uint64{
			"zeros": 0, "ones": ^uint64(0), "data": dataBase, "code": textBase, "stack": testMemory - 64,
		} {
			t.Run(fmt.Sprint(number, " ", name), func(t *testing.T) {
				var code asm
				code.call(number, argument, argument, argument, argument, argument, argument)
				code.bytes(0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff) // cmp $-4095,%rax
				code.bytes(0x73, 0x02)                         // jae over
				code.bytes(0xcd, 0x03)                         // int $3: the call has succeeded
				code = append(code, idle()...)
				p, console := start(t, guestOf(t, code), tender.Jail{})
				if n, _ := console.Read(make([]byte, 1)); n == 0 {
					exit, err := p.Wait()
					must.NoError(t, err)
					must.SliceContains(t, []syscall.Signal{syscall.SIGSYS, syscall.SIGILL}, exit.Signal)
					return
				}
				must.Eq(t, mappings(t, unchanged), mappings(t, p))
				must.Eq(t, descriptors(t, unchanged), descriptors(t, p))
				for _, field := range []string{"Seccomp", "NoNewPrivs", "CapPrm", "SigBlk", "SigIgn", "Threads"} {
					must.Eq(t, statusFields(t, unchanged)[field], statusFields(t, p)[field], must.Sprint(field))
				}
			})
		}
	}
}

// The vsyscall page cannot be unmapped, but the filter applies to its calls.
func TestGuest_VsyscallsKill(t *testing.T) {
	maps, err := os.ReadFile("/proc/self/maps")
	must.NoError(t, err)
	want := syscall.SIGSYS
	if !strings.Contains(string(maps), "[vsyscall]") {
		want = syscall.SIGSEGV
	}
	const gettimeofday, stackWord = 0xffffffffff600000, 0x0
	var code asm
	code.set(arguments[0], dataBase)
	code.set(arguments[1], stackWord)
	code.set(rax, gettimeofday)
	code.bytes(0xff, 0xd0) // call *%rax
	code.exit(77)
	exit, _ := run(t, guestOf(t, code))
	must.Eq(t, tender.Exit{Signal: want}, exit)
}

func TestGuest_MemoryIsProtected(t *testing.T) {
	mustEndBy(t, syscall.SIGSEGV, map[string]func(*asm){
		"read of address 0":          func(a *asm) { a.loadByte(0) },
		"read below guest memory":    func(a *asm) { a.loadByte(guestBase - 1) },
		"read above guest memory":    func(a *asm) { a.loadByte(testMemory) },
		"read above the launcher":    func(a *asm) { a.loadByte(launcherBase + pageSize) },
		"read of an old stack":       func(a *asm) { a.loadByte(taskEnd - pageSize) },
		"write to text":              func(a *asm) { a.storeByte(textBase) },
		"write to read-only data":    func(a *asm) { a.storeByte(rodataBase) },
		"write to the launcher":      func(a *asm) { a.storeByte(launcherBase) },
		"execution of address 0":     func(a *asm) { a.jump(0) },
		"execution of data":          func(a *asm) { a.jump(dataBase) },
		"execution of const data":    func(a *asm) { a.jump(rodataBase) },
		"execution of the heap":      func(a *asm) { a.jump(dataBase + pageSize) },
		"execution of the boot page": func(a *asm) { a.jump(bootBase) },
	})
}

// The launcher's code stays mapped. It can make only the guest's calls.
func TestGuest_GainsNothingFromTheLauncher(t *testing.T) {
	for name, where := range map[string]uint64{
		"start":  codeOffset,
		"report": codeOffset + 0x46, // label failed: writes to the status pipe
	} {
		t.Run(name, func(t *testing.T) {
			var code asm
			code.jump(launcherBase + where)
			exit, _ := run(t, guestOf(t, code))
			must.Eq(t, tender.Exit{Signal: syscall.SIGSYS}, exit)
		})
	}
}

func TestGuest_FaultsEndItBySignal(t *testing.T) {
	for name, c := range map[string]struct {
		code asm
		want tender.Exit
	}{
		"invalid instruction": {asm{0x0f, 0x0b}, tender.Exit{Signal: syscall.SIGILL}},
		"division by zero":    {asm{0x31, 0xc9, 0xf7, 0xf1}, tender.Exit{Signal: syscall.SIGFPE}},
		"breakpoint":          {asm{0xcc}, tender.Exit{Signal: syscall.SIGTRAP}},
		"privileged":          {asm{0xf4}, tender.Exit{Signal: syscall.SIGSEGV}},
	} {
		t.Run(name, func(t *testing.T) {
			exit, _ := run(t, guestOf(t, c.code))
			must.Eq(t, c.want, exit)
		})
	}
}

func TestGuest_ExitsWithItsCode(t *testing.T) {
	for status, want := range map[uint64]int{0: 0, 3: 3, 255: 255, 256 + 7: 7, ^uint64(0): 255} {
		var code asm
		code.exit(status)
		exit, _ := run(t, guestOf(t, code))
		must.Eq(t, tender.Exit{Code: want}, exit)
	}
}
