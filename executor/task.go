// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
)

// A task is a guest and all that the executor has to do with it. One goroutine
// does it all.
type task struct {
	plan *Plan
	dir  stateDir
	self Process
	uid  int // the guest's uid and gid, 0: as the executor

	group    cgroup.Group
	oomKills uint64 // counted by the group before the guest began

	lent    []*os.File // what only the guest is to hold; until it has it
	guest   *spt.Process
	who     Process // the guest's process, told apart from any other
	started time.Time
	control int // our end of the control device, or -1
	console console

	published uint64   // what DroppedFile says
	droppedFD int      // DroppedFile, or -1
	number    [20]byte // to write it

	stopSignal syscall.Signal // the last one sent to stop the guest
	killAt     time.Time      // when to kill it; zero: never
	killed     string         // why it was killed by the executor; "" if it was not
	exit       *Exit          // when it has ended

	listener, signals, pidfd int
	conns                    []*conn
	fds                      []unix.PollFd
}

func (t *task) state() State {
	return State{
		Version: Version, Task: t.plan.Task, Tender: t.plan.Tender,
		Guest: t.who, Executor: t.self, UID: t.uid, Started: t.started,
		Control: t.control >= 0, Dropped: t.console.dropped,
	}
}

// signal gives the guest a signal: as a frame if it has a control device, but
// for SIGKILL, which no program can take; else its process takes it.
func (t *task) signal(verb string, sig syscall.Signal) error {
	switch {
	case t.exit != nil:
		return fmt.Errorf("signal %d: the guest has ended", int(sig))
	case sig < 1 || sig > 64:
		return fmt.Errorf("signal %d: no such signal", int(sig))
	case t.control >= 0 && sig != unix.SIGKILL:
		return t.sendControl(verb, sig)
	default:
		return t.guest.Signal(sig)
	}
}

// stop asks the guest to end, and sees to it that it has when the timeout is
// over.
func (t *task) stop(now time.Time, sig syscall.Signal, timeout time.Duration) {
	if t.exit != nil {
		return
	}
	t.stopSignal = sig
	t.killAt = earliest(t.killAt, now.Add(timeout))
	if err := t.signal("stop", sig); err != nil {
		// It is killed at the timeout all the same.
		t.say("stop the guest: %v", err)
	}
}

// kill ends the guest now, frozen or not.
func (t *task) kill(why string) {
	t.killAt = time.Time{}
	if t.exit != nil {
		return
	}
	if t.killed == "" {
		t.killed = why
	}
	if err := t.guest.Signal(unix.SIGKILL); err != nil {
		t.say("kill the guest: %v", err)
	}
	if err := t.group.Thaw(); err != nil {
		t.say("thaw the guest: %v", err)
	}
}

// end takes note of the guest's end, on disk first.
func (t *task) end(now time.Time) {
	how, err := t.guest.Wait()
	exit := t.describe(how)
	if err != nil {
		exit = Exit{Code: 1, Reason: err.Error()}
	}
	exit.Finished = now
	exit.Dropped = t.console.dropped
	t.exit = &exit
	t.killAt = time.Time{}
	_ = unix.Close(t.pidfd)
	t.pidfd = -1
	record := ExitRecord{Version: Version, Executor: t.self, Guest: t.who, Exit: exit}
	if err := t.dir.writeDurable(ExitFile, record); err != nil {
		t.say("the exit status is lost if the plugin is: %v", err)
	}
	t.console.finish(now)
}

// describe says how and why the guest ended. That memory was short is what
// the kernel counted, never a guess from the signal.
func (t *task) describe(how tender.Exit) Exit {
	exit := Exit{Code: how.Code, Signal: int(how.Signal), Reason: how.Reason()}
	if how.Signal == 0 {
		return exit
	}
	memory := t.cgroupMemory()
	switch {
	case how.Signal == unix.SIGKILL && memory.OOMKills > t.oomKills:
		exit.OOMKilled = true
		exit.Reason = fmt.Sprintf("out of memory: the task may use %d MiB", memory.Limit>>20)
		if memory.Limit == 0 {
			exit.Reason = "out of memory: the machine has none left"
		}
	case how.Signal == unix.SIGKILL && t.killed != "":
		exit.Reason = "killed: " + t.killed
	case how.Signal == t.stopSignal:
		exit.Reason = "stopped by " + unix.SignalName(how.Signal)
	}
	return exit
}

// say writes a line to the task's stderr. If nothing takes it, it is lost.
func (t *task) say(format string, args ...any) {
	_, _ = unix.Write(2, []byte("lkl-executor: "+fmt.Sprintf(format, args...)+"\n"))
}
