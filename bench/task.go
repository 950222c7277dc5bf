// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-uuid"
	"github.com/hashicorp/nomad/client/lib/cgroupslib"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A task is prepared as by a Nomad client: with directories, control groups, and FIFOs
// for the console.
type task struct {
	*drivers.TaskConfig
	driver drivers.DriverPlugin
	groups cgroupslib.Lifecycle

	stdout, stderr *os.File

	begun   time.Time     // just before StartTask
	started time.Duration // duration of StartTask
}

// newTask creates a task with 64 MiB.
func (b *bench) newTask(d drivers.DriverPlugin, config map[string]any) (*task, error) {
	const name, memory = "bench", 64
	allocID, err := uuid.GenerateUUID()
	if err != nil {
		return nil, err
	}
	t := &task{driver: d, groups: cgroupslib.Factory(allocID, name, false), TaskConfig: &drivers.TaskConfig{
		ID: allocID + "/" + name, AllocID: allocID, Name: name, AllocDir: filepath.Join(b.dir, "allocs", allocID),
		Resources: &drivers.Resources{
			LinuxResources: &drivers.LinuxResources{
				MemoryLimitBytes: memory << 20, CPUShares: 100,
				CpusetCgroupPath: cgroupslib.LinuxResourcesPath(allocID, name, false),
			},
			NomadResources: &structs.AllocatedTaskResources{Memory: structs.AllocatedMemoryResources{MemoryMB: memory}},
			Ports:          &structs.AllocatedPorts{},
		},
	}}
	dirs := t.TaskDir()
	t.StdoutPath, t.StderrPath = filepath.Join(dirs.LogDir, "stdout"), filepath.Join(dirs.LogDir, "stderr")
	for _, dir := range []string{dirs.LocalDir, dirs.SecretsDir, dirs.LogDir} {
		err = errors.Join(err, os.MkdirAll(dir, 0o755))
	}
	err = errors.Join(err, unix.Mkfifo(t.StdoutPath, 0o600), unix.Mkfifo(t.StderrPath, 0o600),
		t.groups.Setup(), t.EncodeConcreteDriverConfig(config))
	if err != nil {
		return nil, err
	}
	// O_RDWR does not wait for the other side to open the FIFO.
	if t.stdout, err = os.OpenFile(t.StdoutPath, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	t.stderr, err = os.OpenFile(t.StderrPath, os.O_RDWR, 0)
	return t, err
}

func (t *task) start() error {
	_, _, err := t.driver.StartTask(t.TaskConfig)
	t.started = time.Since(t.begun)
	return err
}

// firstByte waits for the first byte of output, and returns the time since the call of
// StartTask.
func (t *task) firstByte() (time.Duration, error) {
	if err := t.stdout.SetReadDeadline(time.Now().Add(testenv.Patience)); err != nil {
		return 0, err
	}
	_, err := t.stdout.Read(make([]byte, 1))
	return time.Since(t.begun), err
}

// wait waits for the end of the task.
func (t *task) wait() error {
	ctx, cancel := context.WithTimeout(context.Background(), testenv.Patience)
	defer cancel()
	ch, err := t.driver.WaitTask(ctx, t.ID)
	if err != nil {
		return err
	}
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("task %s does not end", t.ID)
	}
}

// destroy removes the task and its resources.
func (t *task) destroy() error {
	err := t.driver.DestroyTask(t.ID, true)
	_ = t.groups.Kill() // fails if the driver has removed the groups
	return errors.Join(err, t.stdout.Close(), t.stderr.Close(), t.groups.Teardown(), os.RemoveAll(t.AllocDir))
}
