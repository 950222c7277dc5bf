// SPDX-License-Identifier: MPL-2.0

package testenv

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

// SharedCPUSet readies the cpuset that Nomad names to its tasks, as an agent
// does when it starts: with cgroup v1 nothing can enter one without processors
// and memory nodes, and a machine may not have seen an agent yet. What is set
// stays as it is; with cgroup v2 there is nothing to do.
func SharedCPUSet(t testing.TB, path string) {
	t.Helper()
	for _, dir := range []string{filepath.Dir(path), path} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "tasks")); errors.Is(err, fs.ErrNotExist) {
			return // v2 has no such file
		}
		must.NoError(t, os.MkdirAll(dir, 0o755))
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			now, err := os.ReadFile(filepath.Join(dir, name))
			must.NoError(t, err)
			if len(bytes.TrimSpace(now)) > 0 {
				continue
			}
			value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
			must.NoError(t, err)
			must.NoError(t, os.WriteFile(filepath.Join(dir, name), value, 0o644))
		}
	}
}
