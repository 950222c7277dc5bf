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
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/cmdline"
)

// ErrRunning reports a state directory with a running executor.
var ErrRunning = errors.New("an executor is already running")

// environment makes the executor's Go runtime small: it uses memory for one
// processor only, collects garbage after about a megabyte, and does not open
// cgroup files to watch the CPU limit.
var environment = []string{
	"GOMAXPROCS=1", "GOGC=25", "GODEBUG=containermaxprocs=0,updatemaxprocs=0",
}

// Start starts an executor from the given binary, sends it the plan and the files
// to which the plan refers, and returns when the guest runs. The caller keeps
// and closes its files. If Start fails or ctx ends, Start leaves no process and
// no file behind.
func Start(ctx context.Context, binary string, plan executor.Plan, files []*os.File) (_ *Client, _ executor.State, err error) {
	plan.Version = executor.Version
	if len(plan.CommandLine) > cmdline.MaxLength {
		file, err := moveCommandLine(&plan, len(files))
		if err != nil {
			return nil, executor.State{}, err
		}
		defer func() { _ = file.Close() }()
		files = append(slices.Clip(files), file)
	}
	if err := plan.Check(len(files)); err != nil {
		return nil, executor.State{}, err
	}
	group, err := plan.Cgroup.Group()
	if err != nil {
		return nil, executor.State{}, err
	}
	if err := prepareDir(plan); err != nil {
		return nil, executor.State{}, err
	}
	defer func() {
		if err != nil {
			removeFiles(plan.Dir)
		}
	}()
	cmd, conn, err := startProcess(binary, plan, files)
	if err != nil {
		return nil, executor.State{}, err
	}
	reaped := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(reaped)
	}()
	state, err := sendOrder(ctx, conn, executor.Order{Files: len(files), Plan: plan})
	if err != nil {
		// The kernel kills the guest when the executor dies.
		_ = cmd.Process.Kill()
		<-reaped
		return nil, executor.State{}, fmt.Errorf("start executor %d: %w", cmd.Process.Pid, err)
	}
	id := executor.Identity{
		Version: state.Version, MinVersion: executor.MinVersion, Task: state.Task,
		Executor: state.Executor, Guest: state.Guest, Files: state.Files, UID: state.UID,
	}
	return newClient(plan.Dir, id, plan.Cgroup, group), state, nil
}

// moveCommandLine moves a long command line from a plan to a file in memory, which
// becomes the inherited file of this index. The executor never reads it.
func moveCommandLine(plan *executor.Plan, index int) (*os.File, error) {
	file, err := memfd.New("command-line", []byte(plan.CommandLine))
	plan.CommandLine, plan.CommandLineFD = "", &index
	return file, err
}

// prepareDir removes the files of an earlier run and writes the plan. It writes
// the plan before the process exists, so that a later plugin finds every task
// that was started.
func prepareDir(plan executor.Plan) error {
	// Other errors than a running executor mean unreadable files of an earlier
	// run, which are removed.
	if _, id, err := liveExecutor(plan.Dir); err == nil {
		return fmt.Errorf("%s: process %d: %w", plan.Dir, id.Executor.Pid, ErrRunning)
	}
	removeFiles(plan.Dir)
	return executor.WritePlan(plan)
}

// removeFiles removes the files that Start and the executor write.
func removeFiles(dir string) {
	for _, name := range []string{
		executor.PlanFile, executor.IdentityFile, executor.SocketFile, executor.ExitFile, executor.DroppedFile, executor.FilesFile,
	} {
		_ = os.Remove(filepath.Join(dir, name))
		_ = os.Remove(filepath.Join(dir, name+atomicfile.TemporarySuffix))
	}
}

// startProcess starts the executor with one end of a socket pair as descriptor
// PlanFD, followed by the files. It returns the other end.
func startProcess(binary string, plan executor.Plan, files []*os.File) (*exec.Cmd, net.Conn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create a socket pair for the executor: %w", err)
	}
	local, remote := os.NewFile(uintptr(pair[0]), "plan"), os.NewFile(uintptr(pair[1]), "plan")
	defer func() { _ = errors.Join(local.Close(), remote.Close()) }()
	conn, err := net.FileConn(local)
	if err != nil {
		return nil, nil, fmt.Errorf("use the socket pair: %w", err)
	}
	cmd := exec.Command(binary)
	cmd.Env = environment
	cmd.Dir = "/"
	cmd.ExtraFiles = append([]*os.File{remote}, files...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	group, err := startInCgroup(plan.Cgroup, cmd.SysProcAttr)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	defer func() { _ = group.Close() }()
	if err := cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("start the executor: %w", err)
	}
	return cmd, conn, nil
}

// startInCgroup makes the kernel create the process in its v2 cgroup, which is
// faster than moving it there. The caller closes the returned file, which may be
// nil, after the start.
func startInCgroup(spec cgroup.Spec, attr *syscall.SysProcAttr) (*os.File, error) {
	if spec.Version != cgroup.V2 {
		return nil, nil
	}
	if err := os.MkdirAll(spec.Unified, 0o755); err != nil {
		return nil, fmt.Errorf("create the task's cgroup: %w", err)
	}
	f, err := os.Open(spec.Unified)
	if err != nil {
		return nil, fmt.Errorf("open the task's cgroup: %w", err)
	}
	attr.UseCgroupFD, attr.CgroupFD = true, int(f.Fd())
	return f, nil
}

// sendOrder sends an order, waits until the guest runs, and closes the connection.
func sendOrder(ctx context.Context, conn net.Conn, order executor.Order) (executor.State, error) {
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	b, err := json.Marshal(order)
	if err != nil {
		return executor.State{}, fmt.Errorf("encode the plan: %w", err)
	}
	_, err = conn.Write(append(b, '\n'))
	var r executor.Response
	if err == nil {
		r, err = readResponse(conn)
	}
	switch {
	case ctx.Err() != nil:
		return executor.State{}, context.Cause(ctx)
	case err != nil:
		return executor.State{}, fmt.Errorf("no response from the executor: %w", err)
	case r.Error != "":
		return executor.State{}, &RefusedError{r.Error}
	case r.State == nil:
		return executor.State{}, errors.New("the executor's response to the plan contains no state")
	}
	return *r.State, nil
}
