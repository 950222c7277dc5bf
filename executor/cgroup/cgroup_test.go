// SPDX-License-Identifier: MPL-2.0

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

func TestNomadV1_DerivesAllGroupsFromTheCPUSet(t *testing.T) {
	const scope = "8f2e.web"
	for _, tc := range []struct{ cpuset, parent string }{
		{"/sys/fs/cgroup/cpuset/nomad/share", "nomad"},
		{"/sys/fs/cgroup/cpuset/nomad/reserve/8f2e.web", "nomad"},
		{"/sys/fs/cgroup/cpuset/my/parent/share", "my/parent"},
		{"/sys/fs/cgroup/cpuset/my/parent/reserve/8f2e.web", "my/parent"},
	} {
		got, err := nomadV1("/sys/fs/cgroup", tc.cpuset, scope)
		must.NoError(t, err)
		must.Eq(t, Spec{
			Version: V1, CPUSet: tc.cpuset,
			Freezer: "/sys/fs/cgroup/freezer/" + tc.parent + "/8f2e.web",
			Memory:  "/sys/fs/cgroup/memory/" + tc.parent + "/8f2e.web",
			CPU:     "/sys/fs/cgroup/cpu/" + tc.parent + "/8f2e.web",
		}, got)
	}
	for _, bad := range []string{"/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/cpuset/share", "/elsewhere/nomad/share"} {
		_, err := nomadV1("/sys/fs/cgroup", bad, scope)
		must.Error(t, err, must.Sprint(bad))
	}
}

func TestNomad_ReturnsTheZeroSpecWithoutACgroup(t *testing.T) {
	spec, err := Nomad("", "8f2e", "web")
	must.NoError(t, err)
	must.Eq(t, Spec{}, spec)
	group, err := spec.Group()
	must.NoError(t, err)
	must.NoError(t, errors.Join(group.Create(), group.Enter(), group.Release(), group.Thaw(), group.Remove(t.Context())))
	_, err = group.Memory()
	must.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestGroup_RefusesUnknownVersions(t *testing.T) {
	_, err := Spec{Version: 3}.Group()
	must.ErrorIs(t, err, ErrVersion)
}

// fixture creates a directory with interface files.
func fixture(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		must.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	return dir
}

func content(t *testing.T, dir, file string) string {
	t.Helper()
	s, err := read(dir, file)
	must.NoError(t, err)
	return s
}

func TestV2_WritesItsLimits(t *testing.T) {
	files := []string{"memory.max", "memory.low", "memory.swap.max", "cpu.weight", "cpuset.cpus", "cgroup.freeze"}
	empty := map[string]string{}
	for _, f := range files {
		empty[f] = ""
	}
	dir := fixture(t, empty)
	group, err := Spec{Version: V2, Unified: dir, Limits: Limits{
		MemoryBytes: 64 << 20, MemoryLow: 32 << 20, CPUShares: 1024, CPUs: "0-1",
	}}.Group()
	must.NoError(t, err)
	must.NoError(t, group.Create())
	must.NoError(t, group.Thaw())
	for i, want := range []string{"67108864", "33554432", "0", "100", "0-1", "0"} {
		must.Eq(t, want, content(t, dir, files[i]), must.Sprint(files[i]))
	}
}

func TestV2_FailsIfALimitCannotBeWritten(t *testing.T) {
	for _, limits := range []Limits{{MemoryBytes: 1}, {MemoryLow: 1}, {CPUShares: 2}, {CPUs: "0"}} {
		group, err := Spec{Version: V2, Unified: t.TempDir(), Limits: limits}.Group()
		must.NoError(t, err)
		must.ErrorIs(t, group.Create(), os.ErrNotExist, must.Sprint(limits))
	}
}

func TestV2_ReadsUsage(t *testing.T) {
	files := map[string]string{
		"memory.stat":         "anon 1000\nfile 2000\nkernel 500\n",
		"memory.events":       "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n",
		"memory.current":      "3500\n",
		"memory.max":          "max\n",
		"memory.swap.current": "10\n",
		"memory.peak":         "4000\n",
		"cpu.stat":            "usage_usec 9\nnr_periods 5\nnr_throttled 3\nthrottled_usec 20\n",
	}
	spec := Spec{Version: V2, Unified: fixture(t, files)}
	group, err := spec.Group()
	must.NoError(t, err)
	m, err := group.Memory()
	must.NoError(t, err)
	must.Eq(t, Memory{RSS: 1000, Cache: 2000, Swap: 10, Usage: 3500, Peak: 4000, OOMKills: 1}, m)
	c, err := group.CPU()
	must.NoError(t, err)
	must.Eq(t, CPU{Periods: 5, Throttled: 3, ThrottledNS: 20_000}, c)

	// Older kernels lack these files.
	must.NoError(t, os.Remove(filepath.Join(spec.Unified, "memory.peak")))
	must.NoError(t, os.Remove(filepath.Join(spec.Unified, "memory.swap.current")))
	m, err = group.Memory()
	must.NoError(t, err)
	must.Eq(t, Memory{RSS: 1000, Cache: 2000, Usage: 3500, OOMKills: 1}, m)
}

func TestFiles_WorksThroughItsDescriptors(t *testing.T) {
	for _, tc := range []struct {
		name    string
		files   map[string]string
		version int
		limit   uint64
		freezer string
	}{
		{"v2", map[string]string{"memory.events": "oom 5\noom_kill 1\n", "memory.max": "4096\n", "cgroup.freeze": "1"}, V2, 4096, "cgroup.freeze"},
		{"v2 without limit", map[string]string{"memory.events": "oom_kill 1\n", "memory.max": "max\n", "cgroup.freeze": "1"}, V2, 0, "cgroup.freeze"},
		{"v1", map[string]string{
			"memory.oom_control": "under_oom 0\noom_kill 1\n", "memory.stat": "rss 7\nhierarchical_memory_limit 4096\n",
			"freezer.state": "FROZEN",
		}, V1, 4096, "freezer.state"},
		{"v1 without limit", map[string]string{
			"memory.oom_control": "oom_kill 1\n", "memory.stat": "hierarchical_memory_limit 9223372036854771712\n", "freezer.state": "",
		}, V1, 0, "freezer.state"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := fixture(t, tc.files)
			group, err := Spec{Version: tc.version, Unified: dir, Memory: dir, Freezer: dir}.Group()
			must.NoError(t, err)
			h, err := group.Open()
			must.NoError(t, err)
			must.NoError(t, os.Rename(dir, dir+".moved")) // paths are of no use any more
			for range 2 {
				kills, limit, err := h.OOM()
				must.NoError(t, err)
				must.Eq(t, 1, kills)
				must.Eq(t, tc.limit, limit)
			}
			must.NoError(t, h.Thaw())
			must.StrHasPrefix(t, h.thawed, content(t, dir+".moved", tc.freezer))
		})
	}
}

func TestFiles_WithoutCountersReportsSo(t *testing.T) {
	for _, spec := range []Spec{{}, {Version: V1}, {Version: V2, Unified: t.TempDir()}} {
		group, err := spec.Group()
		must.NoError(t, err)
		h, err := group.Open()
		must.NoError(t, err)
		_, _, err = h.OOM()
		must.ErrorIs(t, err, errors.ErrUnsupported)
		must.NoError(t, h.Thaw())
	}
}

func TestMemory_ReportsUnreadableNumbers(t *testing.T) {
	dir := fixture(t, map[string]string{
		"memory.stat": "anon many\n", "memory.events": "", "memory.current": "x", "memory.max": "1",
	})
	group, err := Spec{Version: V2, Unified: dir}.Group()
	must.NoError(t, err)
	_, err = group.Memory()
	must.ErrorContains(t, err, "memory.stat: anon")
	must.ErrorContains(t, err, "memory.current")
}

func TestWeight_MapsMinimumDefaultAndMaximum(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 1, 2: 1, 1024: 100, 262144: 10000, 1 << 40: 10000} {
		must.Eq(t, want, weight(shares), must.Sprint(shares))
	}
	last := uint64(0)
	for shares := uint64(2); shares <= 262144; shares *= 2 {
		must.Greater(t, last, weight(shares))
		last = weight(shares)
	}
}

func TestRemove_KeepsSharedGroups(t *testing.T) {
	root := t.TempDir()
	spec := Spec{Version: V1}
	for path, to := range map[string]*string{
		"freezer/a.b": &spec.Freezer, "memory/a.b": &spec.Memory, "cpu/a.b": &spec.CPU, "cpuset/share": &spec.CPUSet,
	} {
		*to = filepath.Join(root, path)
		must.NoError(t, os.MkdirAll(*to, 0o755))
	}
	group, err := spec.Group()
	must.NoError(t, err)
	for range 2 {
		must.NoError(t, group.Remove(t.Context()))
		for _, gone := range []string{spec.Freezer, spec.Memory, spec.CPU} {
			must.DirNotExists(t, gone)
		}
		must.DirExists(t, spec.CPUSet)
	}
	own := spec
	own.CPUSet = filepath.Join(root, "cpuset", "reserve", "a.b")
	must.NoError(t, os.MkdirAll(own.CPUSet, 0o755))
	group, err = own.Group()
	must.NoError(t, err)
	must.NoError(t, group.Remove(t.Context()))
	must.DirNotExists(t, own.CPUSet)
}

func TestReadTable_MatchesWholeKeys(t *testing.T) {
	dir := fixture(t, map[string]string{"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"})
	var n uint64
	must.NoError(t, readTable(dir, "memory.oom_control", map[string]*uint64{"oom_kill": &n}))
	must.Eq(t, 3, n, must.Sprint(fmt.Sprint(n)))
}
