// SPDX-License-Identifier: MPL-2.0

package e2fsprogs

import "github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"

// A Sandbox contains the settings of a tool's confinement that depend on the task. The
// zero value leaves the tool in the cgroup of this process.
type Sandbox struct {
	// Cgroup contains the task's cgroups, which must exist and have their limits.
	Cgroup cgroup.Spec
}
