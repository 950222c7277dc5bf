// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// preemptInterval is the processor time in user mode after which a guest with
// unikernel.FeaturePreempt gets a signal. Linux rounds it up to its clock tick, which
// is 4 ms on Debian.
const preemptInterval = 4 * time.Millisecond

// preemptAddress is the address of the launcher's signal handler. A test compares it
// with testdata/launcher.S.
const preemptAddress = launcherBase + codeOffset + preemptOffset

const preemptOffset = 0xb0 // of the label preempt

// Flags of struct sigaction (linux/signal.h, asm/signal.h).
const (
	saSigInfo  = 0x4
	saRestorer = 0x4000000 // Linux on x86-64 requires it; nothing calls the restorer
	saOnStack  = 0x8000000
	saRestart  = 0x10000000
	saNoDefer  = 0x40000000
)

// interruptByTimer arms a timer that interrupts the guest while it computes. An idle
// guest, or one that waits for the host, gets no signal.
//
// The handler returns without rt_sigreturn, which the filter forbids. The signal must
// therefore not be blocked while the handler runs. Only this signal has a handler.
func (t *table) interruptByTimer(p *unikernel.Preempt) {
	stack := t.uint64s(p.Stack, 0, p.StackSize) // stack_t
	action := t.uint64s(preemptAddress, saSigInfo|saRestorer|saOnStack|saRestart|saNoDefer, 0, 0)
	microseconds := uint64(preemptInterval.Microseconds())
	timer := t.uint64s(0, microseconds, 0, microseconds) // struct itimerval

	t.call("set the signal stack", unix.SYS_SIGALTSTACK, stack, 0)
	t.call("install the signal handler", unix.SYS_RT_SIGACTION, uint64(syscall.SIGVTALRM), action, 0, signalSetSize)
	t.call("arm the timer of the signal", unix.SYS_SETITIMER, unix.ITIMER_VIRTUAL, timer, 0)
}
