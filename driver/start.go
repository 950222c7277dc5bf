// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"fmt"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
)

// StartTask starts a guest, within image_pull_timeout and start_timeout. When a step fails,
// the resources that earlier steps took are released in reverse order.
func (d *Driver) StartTask(task *drivers.TaskConfig) (*drivers.TaskHandle, *drivers.DriverNetwork, error) {
	ctx, timer, cancel := d.startContext()
	defer cancel()
	if err := d.replaceOtherStart(ctx, task); err != nil {
		return nil, nil, err
	}
	ctx, err := d.tasks.reserve(ctx, task)
	if err != nil {
		return nil, nil, err
	}
	var undo undo
	var undoErr error
	defer func() { d.tasks.release(task.ID, undoErr) }()
	running, err := d.start(ctx, task, timer, &undo)
	if ctx.Err() != nil {
		err = canceledError(ctx, err)
	}
	if err != nil {
		undoErr = d.undoFailedStart(task, &undo, err)
		return nil, nil, err
	}
	d.track(task, running.state, running.client)
	d.reportNetwork(task, running.state.Links, running.ports)
	return running.handle, running.network, nil
}

// start runs the steps of a start until the context ends.
func (d *Driver) start(ctx context.Context, task *drivers.TaskConfig, timer *startTimer, undo *undo) (runningTask, error) {
	job, err := readJob(task, &d.config)
	if err != nil {
		return runningTask{}, startError("configuration", err)
	}
	dir, err := d.claimTaskDir(ctx, task, undo)
	if err != nil {
		return runningTask{}, startError("state directory", err)
	}
	job, err = d.addImage(ctx, job, timer)
	if err != nil {
		return runningTask{}, imageError(err)
	}
	defer job.image.Close()
	return d.startGuest(ctx, job, dir, undo)
}

// startGuest runs the steps of a start from the kernel on.
func (d *Driver) startGuest(ctx context.Context, job job, dir taskDir, undo *undo) (runningTask, error) {
	kernel, err := d.openKernel(ctx, job, dir)
	if err != nil {
		return runningTask{}, startError("kernel", err)
	}
	defer kernel.Close()
	devices, err := d.connect(ctx, job, dir, kernel, undo)
	if err != nil {
		return runningTask{}, startError("network", err)
	}
	defer devices.Close()
	if err := d.fitNetwork(job, kernel, devices); err != nil {
		return runningTask{}, startError("network", err)
	}
	if err := d.createCgroup(dir, undo); err != nil {
		return runningTask{}, startError("control group", retryable(err))
	}
	disk, err := d.makeRootDisk(ctx, job, dir, kernel, devices.addresses())
	if err != nil {
		return runningTask{}, startError("root disk", err)
	}
	defer disk.Close()
	disks, err := d.openDisks(ctx, job, dir, kernel)
	if err != nil {
		return runningTask{}, startError("disks", err)
	}
	defer disks.Close()
	live, err := d.openLiveFiles(job, kernel)
	if err != nil {
		return runningTask{}, startError("live directories", err)
	}
	defer live.Close()
	if disk != nil && live != nil {
		if err := live.mountEtc(dir, disk.etc); err != nil {
			return runningTask{}, startError("live directories", retryable(err))
		}
	}
	guest := guest{job: job, kernel: kernel, network: devices, disk: disk, disks: disks, live: live}
	commandLine, err := guest.commandLine()
	if err != nil {
		return runningTask{}, startError("command line", err)
	}
	running, err := d.launch(ctx, guest, commandLine, dir, undo)
	if err != nil {
		return runningTask{}, startError("executor", err)
	}
	return running, nil
}

// undoFailedStart releases the resources of a start that failed with err. If the
// release fails, the task becomes a stray, whose removal is tried again later.
func (d *Driver) undoFailedStart(task *drivers.TaskConfig, undo *undo, err error) error {
	log := d.taskLog(task)
	log.Warn("cannot start the task", "error", err)
	undoErr := undo.run()
	if undoErr != nil {
		log.Warn("clean-up after a failed start is incomplete, and will be retried", "error", undoErr)
		dir := taskDirPath(d.config.StateDir, task.ID)
		if r, err := readRecord(dir); err == nil {
			d.strays.add(dir, r)
		}
	}
	return undoErr
}

// A job is a task as Nomad passes it, Nomad's own settings and the config block, together with
// the image that the config names.
type job struct {
	task    *drivers.TaskConfig
	config  TaskConfig
	program program
	image   *taskImage // nil without an image
}

// readJob decodes and validates a task's config block.
func readJob(task *drivers.TaskConfig, plugin *Config) (job, error) {
	j := job{task: task}
	if err := task.DecodeDriverConfig(&j.config); err != nil {
		return j, fmt.Errorf("decode the task's config: %w", err)
	}
	if err := j.config.validate(plugin, task); err != nil {
		return j, err
	}
	if j.config.Image == "" {
		j.program = jobProgram(&j.config, task)
	}
	return j, nil
}

// kernelName returns the kernel's path, in the job or in the image.
func (j job) kernelName() string {
	if j.image != nil {
		return j.image.entry.KernelPath
	}
	return j.config.Kernel
}

// openKernel gives the task a private copy of its unikernel and checks that
// the job fits it.
func (d *Driver) openKernel(ctx context.Context, j job, dir taskDir) (*kernel, error) {
	k, err := d.readKernel(ctx, j, dir.path)
	if err != nil {
		return nil, err
	}
	if err := k.check(j, &d.config); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// A runningTask is a task whose executor has reported that the guest runs.
type runningTask struct {
	handle  *drivers.TaskHandle
	network *drivers.DriverNetwork
	state   taskState
	ports   portClaim
	client  *client.Client
}

// launch starts the executor and returns once the guest runs.
func (d *Driver) launch(ctx context.Context, g guest, commandLine string, dir taskDir, undo *undo) (runningTask, error) {
	program, err := d.installedProgram(executor.Program)
	if err != nil {
		return runningTask{}, retryable(err)
	}
	plan, files := g.plan(commandLine, dir, emptyDir(d.config.StateDir))
	// An executor that fails to start a guest may have created the cgroup already.
	undo.add(func() error { return client.Destroy(d.ctx, dir.path, client.Known{Cgroup: dir.record.Cgroup}) })
	c, started, err := client.Start(ctx, program, plan, files)
	if err != nil {
		return runningTask{}, retryable(err)
	}
	state := g.state(dir, started)
	handle, err := encodeHandle(g.job.task, state)
	network := driverNetwork(g.job, g.network)
	return runningTask{handle: handle, network: network, state: state, ports: g.job.portClaim(), client: c}, err
}
