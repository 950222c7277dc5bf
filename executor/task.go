// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
)

// A task is the state of the executor. One goroutine uses it.
type task struct {
	plan     *Plan
	dir      stateDir
	exitFile atomicfile.Reservation // ExitFile
	self     Process
	uid      int // UID and GID of the guest; 0: those of the executor
	plugin   int // UID of the plugin

	group       cgroup.Group
	cgroupFiles cgroup.Files // for use after confine
	oomKills    uint64       // the group's counter before the guest began

	guestFiles []*os.File // files that the executor closes once the guest has them
	guest      *spt.Process
	guestID    Process
	started    time.Time
	control    int // the executor's end of the control device, or -1
	files      fileServer
	outputs    outputs

	published uint64   // the content of DroppedFile
	droppedFD int      // DroppedFile
	number    [20]byte // buffer for formatting it

	stopSignal syscall.Signal // the last signal sent to stop the guest
	killAt     time.Time      // when to kill the guest; zero: never
	killReason string         // why the executor killed the guest; "" if it did not
	exit       *Exit          // nil while the guest runs

	listener, signals, pidfd int
	conns                    []*conn
	fds                      []unix.PollFd
}

func (t *task) state() State {
	return State{
		Version: Version, Task: t.plan.Task, Tender: t.plan.Tender,
		Guest: t.guestID, Executor: t.self, Files: t.files.id, UID: t.uid, Started: t.started,
		Control: t.control >= 0, Dropped: t.outputs.dropped(), FilesEnded: t.files.ended,
	}
}

// signal sends a signal to the guest: as a frame over the control device if it
// has one, otherwise to its process. SIGKILL always goes to the process.
func (t *task) signal(verb string, sig syscall.Signal) error {
	switch {
	case t.exit != nil:
		return fmt.Errorf("signal %d: the guest has ended", int(sig))
	case sig < 1 || sig > 64:
		return fmt.Errorf("signal %d does not exist: valid signals are 1 to 64", int(sig))
	case t.control >= 0 && sig != unix.SIGKILL:
		return t.sendControl(verb, sig)
	default:
		return signalFD(t.pidfd, t.guestID.Pid, sig)
	}
}

// stop asks the guest to end and arranges its kill after the timeout.
func (t *task) stop(now time.Time, sig syscall.Signal, timeout time.Duration) {
	if t.exit != nil {
		return
	}
	t.stopSignal = sig
	t.killAt = earliest(t.killAt, now.Add(timeout))
	if err := t.signal("stop", sig); err != nil {
		t.logf("cannot stop the guest, will kill it at the timeout: %v", err)
	}
}

// kill kills the guest, even if it is frozen.
func (t *task) kill(reason string) {
	t.killAt = time.Time{}
	if t.exit != nil {
		return
	}
	if t.killReason == "" {
		t.killReason = reason
	}
	if err := signalFD(t.pidfd, t.guestID.Pid, unix.SIGKILL); err != nil {
		t.logf("kill the guest: %v", err)
	}
	if err := t.cgroupFiles.Thaw(); err != nil {
		t.logf("thaw the guest: %v", err)
	}
}

// recordExit reaps the guest and writes its exit status to disk.
func (t *task) recordExit(now time.Time) {
	end, err := t.guest.Wait()
	exit := t.classifyExit(end)
	if err != nil {
		exit = Exit{Code: 1, Reason: err.Error()}
	}
	exit.Finished = now.UTC()
	exit.Message = t.outputs.message(now)
	exit.Dropped, exit.FilesEnded = t.outputs.dropped(), t.files.ended
	t.exit = &exit
	t.killAt, t.files.publishAt = time.Time{}, time.Time{}
	if t.files.pidfd >= 0 {
		t.files.deadline = now.Add(filesEndTimeout)
	}
	_ = unix.Close(t.pidfd)
	t.pidfd = -1
	record := ExitRecord{Version: Version, Executor: t.self, Guest: t.guestID, Exit: exit}
	if err := t.writeExit(record); err != nil {
		t.logf("the exit status is only in memory and is lost if the plugin ends: %v", err)
	}
	t.outputs.finish(now)
}

// writeExit writes ExitFile and waits for the disk.
func (t *task) writeExit(record ExitRecord) error {
	b, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode the exit status: %w", err)
	}
	return t.exitFile.Write(append(b, '\n'))
}

// classifyExit determines why the guest ended. It reports an out-of-memory kill
// only if the kernel counted one, never because of the signal alone.
func (t *task) classifyExit(end tender.Exit) Exit {
	exit := Exit{Code: end.Code, Signal: int(end.Signal), Reason: end.Reason()}
	if end.Signal == 0 {
		return exit
	}
	oomKills, limit, err := t.cgroupFiles.OOM()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.logf("read the memory cgroup: %v", err)
	}
	switch {
	case end.Signal == unix.SIGKILL && oomKills > t.oomKills:
		exit.OOMKilled = true
		exit.Reason = fmt.Sprintf("out of memory: the task may use %d MiB", limit>>20)
		if limit == 0 {
			exit.Reason = "out of memory: the machine has no free memory"
		}
	case end.Signal == unix.SIGKILL && t.killReason != "":
		exit.Reason = "killed: " + t.killReason
	case end.Signal == t.stopSignal:
		exit.Reason = "stopped by " + unix.SignalName(end.Signal)
	}
	return exit
}

// logf writes a line to the task's stderr. The line is lost if nothing reads it.
func (t *task) logf(format string, args ...any) {
	t.outputs.logLine("lkl-executor: " + fmt.Sprintf(format, args...))
}
