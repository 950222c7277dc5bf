// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

// taskCgroup returns the control groups that Nomad has created for a task, with
// the limits of the task's resources: Nomad leaves joining and limiting to
// drivers (Nomad: client/lib/cgroupslib). It returns the zero Spec if Nomad's
// client works without control groups.
func taskCgroup(task *drivers.TaskConfig) (cgroup.Spec, error) {
	res := task.Resources.LinuxResources
	if res.CpusetCgroupPath == "" {
		return cgroup.Spec{}, nil
	}
	spec, err := cgroup.Nomad(res.CpusetCgroupPath, task.AllocID, task.Name)
	if err != nil {
		return spec, fmt.Errorf("find the task's control group: %w", err)
	}
	spec.Limits = cgroup.Limits{
		MemoryBytes: memoryLimit(task),
		MemoryLow:   memoryReserved(task),
		CPUShares:   uint64(max(res.CPUShares, 0)),
		CPUs:        res.CpusetCpus,
	}
	return spec, nil
}

// createCgroup creates the task's control groups with their limits. The tools that make the
// root disk run there before the executor does.
func (d *Driver) createCgroup(dir taskDir, undo *undo) error {
	group, err := dir.record.Cgroup.Group()
	if err != nil {
		return err
	}
	undo.add(func() error { return group.Remove(d.ctx) })
	return group.Create()
}

// cgroupPath returns the path that the task's attributes show.
func cgroupPath(s cgroup.Spec) string {
	if s.Version == cgroup.V1 {
		return s.Memory
	}
	return s.Unified
}
