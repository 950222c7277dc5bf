// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/bundle"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// A start is one task on its way from a job's words to a running guest.
type start struct {
	d    *Driver
	task *drivers.TaskConfig
	ctx  context.Context // ends with the plugin
	log  hclog.Logger

	job       TaskConfig
	record    record
	dir       string // the task's state directory
	kernel    *kernel
	memory    uint64 // bytes of the guest
	addresses addresses
	tap       *network.Tap
	disk      *os.File
	diskSize  uint64 // bytes, whole sectors
	line      string // the guest's command line
	client    *client.Client
	state     executor.State

	undos   []func() error
	closers []io.Closer
}

// StartTask starts a guest, in the steps below. When one fails, what the
// others did is undone in reverse.
func (d *Driver) StartTask(task *drivers.TaskConfig) (_ *drivers.TaskHandle, _ *drivers.DriverNetwork, err error) {
	release, err := d.tasks.reserve(task)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	s := &start{d: d, task: task, ctx: d.ctx, log: d.taskLog(task)}
	defer s.close()
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"configuration", s.readConfig},
		{"state directory", s.makeDir},
		{"kernel", s.openKernel},
		{"network", s.inspectNetwork},
		{"root disk", s.makeRoot},
		{"tap", s.attachNetwork},
		{"command line", s.writeCommandLine},
		{"executor", s.launch},
	} {
		if err := step.do(); err != nil {
			s.undo()
			s.log.Warn("cannot start the task", "step", step.name, "error", err)
			return nil, nil, startError(step.name, err)
		}
	}
	handle, err := s.handle()
	if err != nil {
		s.undo()
		return nil, nil, startError("handle", err)
	}
	return handle, driverNetwork(s.addresses, task, s.job.Ports), nil
}

// onUndo remembers how to take back what a step has just done.
func (s *start) onUndo(undo func() error) { s.undos = append(s.undos, undo) }

func (s *start) undo() {
	for len(s.undos) > 0 {
		last := len(s.undos) - 1
		if err := s.undos[last](); err != nil {
			s.log.Warn("cleaning up after a failed start", "error", err)
		}
		s.undos = s.undos[:last]
	}
}

// closeLater closes a file when the start is over: then the executor has its
// own descriptor of it, or nobody needs it.
func (s *start) closeLater(c io.Closer) { s.closers = append(s.closers, c) }

func (s *start) close() {
	for _, c := range s.closers {
		_ = c.Close() // nothing was written through any of them
	}
}

// readConfig decodes the job's words and finds every mistake in them.
func (s *start) readConfig() error {
	if err := s.task.DecodeDriverConfig(&s.job); err != nil {
		return fmt.Errorf("decode the task's config: %w", err)
	}
	return s.job.validate(&s.d.config, s.task)
}

// makeDir makes the task's directory, with a record in it from which a later
// plugin can clear the task away. What an earlier try of the same task left
// goes first: Nomad runs one at a time.
func (s *start) makeDir() error {
	spec, err := cgroupOf(s.task)
	if err != nil {
		return err
	}
	s.record = record{
		Task: s.task.ID, AllocID: s.task.AllocID, Name: s.task.Name, AllocDir: s.task.AllocDir,
		Netns: netnsOf(s.task), Cgroup: spec, Created: time.Now(),
	}
	if err := s.d.clearEarlier(s.record); err != nil {
		return retryable(fmt.Errorf("clear away an earlier start of this task: %w", err))
	}
	s.dir = taskDir(s.d.config.StateDir, s.task.ID)
	if err := makeStateDir(s.d.config.StateDir); err != nil {
		return retryable(err)
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return retryable(fmt.Errorf("make the task's directory: %w", err))
	}
	s.onUndo(func() error { return os.RemoveAll(s.dir) })
	return retryable(s.record.write(s.dir))
}

// clearEarlier removes earlier starts of a task: what a plugin left that was killed
// meanwhile, and what this one started for an agent that was killed before it had
// the handle.
func (d *Driver) clearEarlier(task record) error {
	for _, h := range d.tasks.earlier(task) {
		if err := d.destroy(h); err != nil {
			return err
		}
	}
	return d.strays.clear(d.ctx, task)
}

// openKernel reads the unikernel and holds the job against it.
func (s *start) openKernel() error {
	k, err := s.readKernel(s.dir)
	if err != nil {
		return err
	}
	s.closeLater(k)
	s.kernel = k
	s.memory = guestMemory(memoryLimit(s.task), k.memoryGrain())
	return k.check(&s.job, s.task)
}

// inspectNetwork reads the alloc's addresses, which the guest takes over.
func (s *start) inspectNetwork() error {
	if s.kernel.netDevice() == "" {
		return nil
	}
	found, err := network.Inspect(netnsOf(s.task))
	if err != nil {
		return err
	}
	s.addresses = addressesOf(found)
	return nil
}

// attachNetwork opens the guest's tap and joins it to the alloc's interface.
func (s *start) attachNetwork() error {
	if s.kernel.netDevice() == "" {
		return nil
	}
	tap, err := network.AttachL2(netnsOf(s.task), s.kernel.knows(unikernel.FeatureOffload))
	if err != nil {
		return err
	}
	s.tap = tap
	s.closeLater(tap)
	s.onUndo(func() error { return network.Detach(s.record.Netns, tap.Name) })
	s.record.Tap = tap.Name
	return retryable(s.record.write(s.dir))
}

// launch starts the executor, whose answer is that the guest runs.
func (s *start) launch() error {
	binary, err := s.d.installExecutor()
	if err != nil {
		return retryable(err)
	}
	plan, files := s.plan()
	s.client, s.state, err = client.Start(s.ctx, binary, plan, files)
	if err != nil {
		return retryable(err)
	}
	s.onUndo(func() error { return client.Destroy(s.ctx, s.dir, client.Known{Cgroup: s.record.Cgroup}) })
	return nil
}

// uidBase is the first of the users that guests' processes run as, one a task:
// beyond what systemd and distributions hand out (systemd: UIDS-GIDS.md), with
// room for the largest pid.
const uidBase = 0x70000000

// plan is what the executor is told, and the files that go with it.
func (s *start) plan() (executor.Plan, []*os.File) {
	plan := executor.Plan{
		Task: s.task.ID, Dir: s.dir,
		Tender: s.kernel.tender, Memory: s.memory, CommandLine: s.line, ExecHeap: s.job.ExecHeap, HugePages: s.job.HugePages,
		Stdout: s.task.StdoutPath, Stderr: s.task.StderrPath, OutputRoot: s.task.AllocDir,
		UIDBase: uidBase, Root: emptyDir(s.d.config.StateDir),
		Cgroup: s.record.Cgroup,
	}
	files := []*os.File{s.kernel.private} // KernelFD 0
	for _, d := range s.kernel.image.Manifest {
		device := executor.Device{Name: d.Name, Type: d.Type}
		switch {
		case s.kernel.isControl(d):
			device.Control = true
		case d.Type == unikernel.Block:
			device.FD, device.Capacity, device.BlockSize = len(files), s.diskSize, sectorSize
			for _, offer := range s.lklDisks() {
				device.MaxTransfer, device.Flush = offer.Transfer, offer.Flush
			}
			files = append(files, s.disk)
		case d.Type == unikernel.Net:
			device.FD, device.MTU = len(files), uint16(s.tap.MTU)
			copy(device.MAC[:], s.tap.MAC)
			files = append(files, s.tap.File)
		}
		plan.Devices = append(plan.Devices, device)
	}
	return plan, files
}

// handle is what Nomad keeps of the task, and what the plugin does.
func (s *start) handle() (*drivers.TaskHandle, error) {
	state := taskState{
		Dir: s.dir, Tender: s.kernel.tender,
		Executor: s.state.Executor, Guest: s.state.Guest, UID: s.state.UID, Control: s.state.Control,
		Kernel: s.job.Kernel, KernelDigest: s.kernel.digest, Flavor: string(s.kernel.flavor),
		GuestMemory: s.memory,
		IP:          s.addresses.ip(), MAC: s.addresses.mac, Netns: s.record.Netns, Tap: s.record.Tap,
		Cgroup:    s.record.Cgroup,
		StartedAt: s.state.Started.UnixNano(),
	}
	handle := drivers.NewTaskHandle(handleVersion)
	handle.Config = s.task
	handle.State = drivers.TaskStateRunning
	if err := handle.SetDriverState(&state); err != nil {
		return nil, fmt.Errorf("encode the state of the driver: %w", err)
	}
	s.d.adopt(s.task, state, s.client)
	return handle, nil
}

// installExecutor puts the executor's program in place, once.
func (d *Driver) installExecutor() (string, error) {
	d.installing.Lock()
	defer d.installing.Unlock()
	if d.executor != "" {
		if _, err := os.Stat(d.executor); err == nil {
			return d.executor, nil
		}
	}
	if err := makeStateDir(d.config.StateDir); err != nil {
		return "", err
	}
	path, err := bundle.Install(d.config.StateDir)
	if err != nil {
		return "", err
	}
	d.executor = filepath.Clean(path)
	return d.executor, nil
}
