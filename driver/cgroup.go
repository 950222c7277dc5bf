// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

// cgroupOf names the control groups that Nomad has made for a task, and the
// limits that the task's resources ask for: joining and limiting is left to
// drivers (Nomad: client/lib/cgroupslib). Without control groups in Nomad's
// client it is the zero Spec.
func cgroupOf(task *drivers.TaskConfig) (cgroup.Spec, error) {
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

// cgroupPath is the one path that stands for a task's control groups.
func cgroupPath(s cgroup.Spec) string {
	if s.Version == cgroup.V1 {
		return s.Memory
	}
	return s.Unified
}
