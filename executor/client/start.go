// SPDX-License-Identifier: MPL-2.0

package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
)

// ErrRunning says that a state directory is in use by a live executor.
var ErrRunning = errors.New("an executor is running already")

// environment of the executor: that of a Go runtime for one small, mostly idle
// program. It takes memory for one processor, collects garbage after about a
// megabyte, and does not hold files of the cgroup open to watch its CPU limit.
var environment = []string{
	"GOMAXPROCS=1", "GOGC=25", "GODEBUG=containermaxprocs=0,updatemaxprocs=0",
}

// Start starts an executor from the given binary, hands it the plan and the
// files that the plan names by their index, and returns when the guest runs.
// The files stay the caller's. If Start fails, for ctx too, nothing that it
// made is left: no process, no file.
func Start(ctx context.Context, binary string, plan executor.Plan, files []*os.File) (_ *Client, _ executor.State, err error) {
	plan.Version = executor.Version
	if err := plan.Check(len(files)); err != nil {
		return nil, executor.State{}, err
	}
	group, err := plan.Cgroup.Open()
	if err != nil {
		return nil, executor.State{}, err
	}
	if err := prepare(plan); err != nil {
		return nil, executor.State{}, err
	}
	defer func() {
		if err != nil {
			clean(plan.Dir)
		}
	}()
	cmd, line, err := launch(binary, plan, files)
	if err != nil {
		return nil, executor.State{}, err
	}
	// Whoever starts a process has to wait for it, or it stays as a zombie.
	reaped := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(reaped)
	}()
	state, err := handOver(ctx, line, executor.Order{Files: len(files), Plan: plan})
	if err != nil {
		// The kernel kills the guest when the executor dies.
		_ = cmd.Process.Kill()
		<-reaped
		return nil, executor.State{}, fmt.Errorf("start executor %d: %w", cmd.Process.Pid, err)
	}
	id := executor.Identity{
		Version: state.Version, Task: state.Task,
		Executor: state.Executor, Guest: state.Guest, UID: state.UID,
	}
	return &Client{dir: plan.Dir, id: id, cgroup: plan.Cgroup, group: group}, state, nil
}

// prepare makes the state directory ready for a new executor. The plan is
// written before there is a process, so that whoever comes later finds out
// about everything that was started.
func prepare(plan executor.Plan) error {
	switch _, id, err := identify(plan.Dir); {
	case err == nil:
		return fmt.Errorf("%s: process %d: %w", plan.Dir, id.Executor.Pid, ErrRunning)
	case errors.Is(err, ErrNotRunning):
	default:
		// Unreadable leftovers; nothing can be said of them but that the
		// directory is ours.
	}
	clean(plan.Dir)
	return executor.WritePlan(plan)
}

// clean removes what Start and the executor write into a state directory.
func clean(dir string) {
	for _, name := range []string{
		executor.PlanFile, executor.IdentityFile, executor.SocketFile, executor.ExitFile, executor.DroppedFile,
	} {
		_ = os.Remove(filepath.Join(dir, name))
		_ = os.Remove(filepath.Join(dir, name+atomicfile.TemporarySuffix))
	}
}

// launch starts the process with our end of a socket pair, over which the plan
// goes, as descriptor 3 and the files from 4 on.
func launch(binary string, plan executor.Plan, files []*os.File) (*exec.Cmd, net.Conn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair for the executor: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "plan"), os.NewFile(uintptr(pair[1]), "plan")
	defer func() { _ = errors.Join(ours.Close(), theirs.Close()) }()
	line, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, fmt.Errorf("use the socket pair: %w", err)
	}
	cmd := exec.Command(binary)
	cmd.Env = environment
	cmd.Dir = "/"
	cmd.ExtraFiles = append([]*os.File{theirs}, files...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	group, err := bornIn(plan.Cgroup, cmd.SysProcAttr)
	if err != nil {
		_ = line.Close()
		return nil, nil, err
	}
	defer func() { _ = group.Close() }()
	if err := cmd.Start(); err != nil {
		_ = line.Close()
		return nil, nil, fmt.Errorf("start the executor: %w", err)
	}
	return cmd, line, nil
}

// bornIn has the process be born in its v2 cgroup, which is quicker than
// moving it there. The file is to be closed after the start; it may be nil.
func bornIn(spec cgroup.Spec, attr *syscall.SysProcAttr) (*os.File, error) {
	if spec.Version != cgroup.V2 {
		return nil, nil
	}
	if err := os.MkdirAll(spec.Unified, 0o755); err != nil {
		return nil, fmt.Errorf("make a cgroup: %w", err)
	}
	f, err := os.Open(spec.Unified)
	if err != nil {
		return nil, fmt.Errorf("open the task's cgroup: %w", err)
	}
	attr.UseCgroupFD, attr.CgroupFD = true, int(f.Fd())
	return f, nil
}

// handOver sends the plan and waits for the word that the guest runs. It
// closes the line.
func handOver(ctx context.Context, line net.Conn, order executor.Order) (executor.State, error) {
	defer func() { _ = line.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = line.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	b, err := json.Marshal(order)
	if err != nil {
		return executor.State{}, fmt.Errorf("encode the plan: %w", err)
	}
	_, err = line.Write(append(b, '\n'))
	var r executor.Response
	if err == nil {
		r, err = readResponse(line)
	}
	switch {
	case ctx.Err() != nil:
		return executor.State{}, ctx.Err()
	case err != nil:
		return executor.State{}, fmt.Errorf("no answer: %w", err)
	case r.Error != "":
		return executor.State{}, &RefusedError{r.Error}
	case r.State == nil:
		return executor.State{}, errors.New("answer to the plan without a state")
	}
	return *r.State, nil
}
