// SPDX-License-Identifier: MPL-2.0

//go:build linux && amd64

package spt

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// preemptedGuest returns a guest whose signal handler is this code. The code of main
// comes after it.
func preemptedGuest(t *testing.T, handler, main asm, data []byte) *tender.Guest {
	t.Helper()
	kernel, info := buildKernel(t, append(handler, main...), nil, data)
	g := &tender.Guest{Kernel: kernel, Info: info, Memory: testMemory}
	info.Entry = textBase + uint64(len(handler))
	info.Preempt = &unikernel.Preempt{Handler: textBase, Stack: info.End, StackSize: 16 << 10}
	return g
}

// loop never makes a system call.
func loop() asm { return asm{0xeb, 0xfe} } // jmp .

func TestPreempt_InterruptsComputing(t *testing.T) {
	var handler asm
	handler.exit(42)
	exit, _ := run(t, preemptedGuest(t, handler, loop(), []byte("data")))
	must.Eq(t, tender.Exit{Code: 42}, exit)
}

func TestPreempt_HandlerRunsOnItsStack(t *testing.T) {
	var handler asm
	handler.bytes(0x48, 0x89, 0xe0)      // mov %rsp,%rax
	handler.bytes(0x48, 0x2d)            // sub $stack,%rax
	stack := uint32(dataBase + pageSize) // info.End
	handler = binary.LittleEndian.AppendUint32(handler, stack)
	handler.bytes(0x48, 0xc1, 0xe8, 14) // shr $14,%rax: 0 inside of 16 KiB
	handler.exitWithResult()
	exit, _ := run(t, preemptedGuest(t, handler, loop(), []byte("data")))
	must.Eq(t, tender.Exit{}, exit)
}

// The filter has the same calls as without a handler.
func TestPreempt_HandlerMayNotCallSigreturn(t *testing.T) {
	var handler asm
	handler.call(unix.SYS_RT_SIGRETURN)
	handler.exit(42)
	exit, _ := run(t, preemptedGuest(t, handler, loop(), []byte("data")))
	must.Eq(t, tender.Exit{Signal: unix.SIGSYS}, exit)
}

func TestPreempt_OnlyOneSignalHasAHandler(t *testing.T) {
	var main asm
	main.write(dataBase, 1)
	main = append(main, loop()...)
	p := startIdle(t, preemptedGuest(t, loop(), main, []byte("data")), tender.Jail{})
	f := statusFields(t, p)
	must.Eq(t, fmt.Sprintf("%016x", 1<<(unix.SIGVTALRM-1)), f["SigCgt"])
	must.Eq(t, "0000000000000000", f["SigIgn"])
	must.Eq(t, "0000000000000000", f["SigBlk"])
	must.NoError(t, p.Signal(unix.SIGTERM))
	exit, err := p.Wait()
	must.NoError(t, err)
	must.Eq(t, tender.Exit{Signal: unix.SIGTERM}, exit)
}

// While the launcher's code runs, the filter may be missing. This guest goes back to
// that code, with a table that writes a byte and then leads to its own end.
func TestPreempt_GuestsHandlerDoesNotInterruptTheLauncher(t *testing.T) {
	testenv.Need(t, testenv.Root)                     // the process is not dumpable
	const linkLoop = launcherBase + codeOffset + 0x09 // the label step of testdata/launcher.S
	write := step{number: unix.SYS_WRITE, args: args{fdConsole, dataBase, 1}, want: 1}
	data := jump(dataBase+64, dataBase+2048).encode(write.encode(nil))

	var handler, main asm
	handler.exit(42)
	main.set([2]byte{0x48, 0xbb}, dataBase) // movabs $data,%rbx
	main.jump(linkLoop)
	p := startIdle(t, preemptedGuest(t, handler, main, append(data, make([]byte, 2048)...)), tender.Jail{})
	for range 20 {
		must.NoError(t, p.Signal(unix.SIGVTALRM))
		must.Wait(t, testenv.EventuallyTrue(func() bool { return statusFields(t, p)["ShdPnd"] == "0000000000000000" }))
	}
	must.NoError(t, p.Signal(unix.SIGTERM))
	exit, err := p.Wait()
	must.NoError(t, err)
	must.Eq(t, tender.Exit{Signal: unix.SIGTERM}, exit)
}
