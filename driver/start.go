// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// StartTask starts a guest. When a step fails, the resources that earlier steps
// took are released in reverse order.
func (d *Driver) StartTask(task *drivers.TaskConfig) (_ *drivers.TaskHandle, _ *drivers.DriverNetwork, err error) {
	release, err := d.tasks.reserve(task)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	var undo undo
	defer func() { d.undoFailedStart(task, &undo, err) }()

	job, err := readJob(task, &d.config)
	if err != nil {
		return nil, nil, startError("configuration", err)
	}
	dir, err := d.claimTaskDir(task, &undo)
	if err != nil {
		return nil, nil, startError("state directory", err)
	}
	kernel, err := d.openKernel(job, dir)
	if err != nil {
		return nil, nil, startError("kernel", err)
	}
	defer kernel.Close()
	addresses, err := inspectNetwork(job, kernel)
	if err != nil {
		return nil, nil, startError("network", err)
	}
	disk, err := d.makeRootDisk(job, dir, kernel, addresses)
	if err != nil {
		return nil, nil, startError("root disk", err)
	}
	defer disk.Close()
	tap, err := attachTap(dir, kernel, &undo)
	if err != nil {
		return nil, nil, startError("tap", err)
	}
	defer closeTap(tap)
	guest := guest{job: job, kernel: kernel, addresses: addresses, disk: disk, tap: tap}
	commandLine, err := guest.commandLine()
	if err != nil {
		return nil, nil, startError("command line", err)
	}
	running, err := d.launch(guest, commandLine, dir, &undo)
	if err != nil {
		return nil, nil, startError("executor", err)
	}
	d.track(task, running.state, running.client)
	return running.handle, driverNetwork(job, addresses), nil
}

// undoFailedStart releases the resources of a failed start, and does nothing for a nil
// error. If the release fails, the task becomes a stray, whose removal is tried
// again later.
func (d *Driver) undoFailedStart(task *drivers.TaskConfig, undo *undo, err error) {
	if err == nil {
		return
	}
	log := d.taskLog(task)
	log.Warn("cannot start the task", "error", err)
	if err := undo.run(); err != nil {
		log.Warn("clean-up after a failed start is incomplete, and will be retried", "error", err)
		dir := taskDirPath(d.config.StateDir, task.ID)
		if r, err := readRecord(dir); err == nil {
			d.strays.add(dir, r)
		}
	}
}

// A job is a task as Nomad passes it: Nomad's own settings and the config block.
type job struct {
	task   *drivers.TaskConfig
	config TaskConfig
}

// readJob decodes and validates a task's config block.
func readJob(task *drivers.TaskConfig, plugin *Config) (job, error) {
	j := job{task: task}
	if err := task.DecodeDriverConfig(&j.config); err != nil {
		return j, fmt.Errorf("decode the task's config: %w", err)
	}
	return j, j.config.validate(plugin, task)
}

// openKernel gives the task a private copy of its unikernel and checks that
// the job fits it.
func (d *Driver) openKernel(j job, dir taskDir) (*kernel, error) {
	k, err := d.readKernel(j, dir.path)
	if err != nil {
		return nil, err
	}
	if err := k.check(j); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// inspectNetwork reads the addresses of the alloc, which become the guest's. It
// returns the zero value for a kernel without a net device.
func inspectNetwork(j job, k *kernel) (addresses, error) {
	if k.netDevice() == "" {
		return addresses{}, nil
	}
	found, err := network.Inspect(netnsOf(j.task))
	if err != nil {
		return addresses{}, err
	}
	return addressesOf(found), nil
}

// attachTap opens the guest's tap and connects it to the alloc's interface. It
// returns nil for a kernel without a net device.
func attachTap(dir taskDir, k *kernel, undo *undo) (*network.Tap, error) {
	if k.netDevice() == "" {
		return nil, nil
	}
	netns := dir.record.Netns
	tap, err := network.AttachL2(netns, k.supports(unikernel.FeatureOffload))
	if err != nil {
		return nil, err
	}
	undo.add(func() error { return network.Detach(netns, tap.Name) })
	return tap, nil
}

// closeTap closes the plugin's descriptor. The executor has its own.
func closeTap(tap *network.Tap) {
	if tap != nil {
		_ = tap.Close()
	}
}

// A runningTask is a task whose executor has reported that the guest runs.
type runningTask struct {
	handle *drivers.TaskHandle
	state  taskState
	client *client.Client
}

// launch starts the executor and returns once the guest runs.
func (d *Driver) launch(g guest, commandLine string, dir taskDir, undo *undo) (runningTask, error) {
	program, err := d.installedExecutor()
	if err != nil {
		return runningTask{}, retryable(err)
	}
	plan, files := g.plan(commandLine, dir, emptyDir(d.config.StateDir))
	c, started, err := client.Start(d.ctx, program, plan, files)
	if err != nil {
		return runningTask{}, retryable(err)
	}
	undo.add(func() error { return client.Destroy(d.ctx, dir.path, client.Known{Cgroup: dir.record.Cgroup}) })
	state := g.state(dir, started)
	handle, err := encodeHandle(g.job.task, state)
	return runningTask{handle: handle, state: state, client: c}, err
}
