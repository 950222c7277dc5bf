// SPDX-License-Identifier: MPL-2.0

package testenv

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

// TaskCgroup creates the control groups of a task as a Nomad client does, and
// removes them after the test. It returns the path that the client passes to
// the driver in CpusetCgroupPath.
func TaskCgroup(t testing.TB, allocID, task string) string {
	t.Helper()
	const root = "/sys/fs/cgroup"
	name := allocID + "." + task
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		group := filepath.Join(root, "nomad.slice", "share.slice", name+".scope")
		makeCgroup(t, group)
		return group
	}
	for _, controller := range []string{"freezer", "cpu", "memory"} {
		makeCgroup(t, filepath.Join(root, controller, "nomad", name))
	}
	share := filepath.Join(root, "cpuset", "nomad", "share")
	setUpCPUSet(t, filepath.Dir(share))
	setUpCPUSet(t, share)
	return share
}

func makeCgroup(t testing.TB, path string) {
	t.Helper()
	must.NoError(t, os.MkdirAll(path, 0o755))
	t.Cleanup(func() { _ = os.Remove(path) })
}

// setUpCPUSet creates a cpuset of cgroup v1 and gives it the processors and
// memory nodes of its parent. A process cannot enter a cpuset without them. A
// cpuset that has them, from an agent that has run here, stays as it is.
func setUpCPUSet(t testing.TB, path string) {
	t.Helper()
	must.NoError(t, os.MkdirAll(path, 0o755))
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		now, err := os.ReadFile(filepath.Join(path, name))
		must.NoError(t, err)
		if len(bytes.TrimSpace(now)) > 0 {
			continue
		}
		inherited, err := os.ReadFile(filepath.Join(filepath.Dir(path), name))
		must.NoError(t, err)
		must.NoError(t, os.WriteFile(filepath.Join(path, name), inherited, 0o644))
	}
}
