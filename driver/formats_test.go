// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

// The files in testdata/formats were written by the builds of each version.
// They never change: tasks of those builds must survive an upgrade.

func formatFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "formats", name))
	must.NoError(t, err)
	return content
}

var formatCgroup = cgroup.Spec{
	Version: cgroup.V1, Unified: "/unified", Freezer: "/freezer", Memory: "/memory", CPU: "/cpu", CPUSet: "/cpuset",
	Limits: cgroup.Limits{MemoryBytes: 1 << 26, MemoryLow: 1 << 25, CPUShares: 200, CPUs: "0,2-3"},
}

// formatLinks are the links of a task with several net devices.
var formatLinks = []link{
	{
		Device: "tap", Mode: modeShared, Netns: "/var/run/netns/0e1c", Interface: "eth0", Tap: "lkl0",
		IP: "172.26.64.5", IPv6: "fd00::5", MAC: "02:00:00:00:00:09",
	},
	{Device: "uplink", Mode: modeHost, Tap: "lkl7", IP: "198.18.0.30", MAC: "02:00:00:00:00:0a"},
	{Device: "spare", Mode: modeNone, Tap: "lkl0", MAC: "02:00:00:00:00:0b"},
}

func formatRecord(version int) record {
	r := record{
		Version: version,
		Task:    "0e1c/web/4b2f", AllocID: "0e1c", Name: "web", AllocDir: "/opt/nomad/alloc/0e1c",
		Netns: "/var/run/netns/0e1c", Cgroup: formatCgroup,
		Created: time.Date(2026, 11, 27, 10, 11, 12, 130000000, time.UTC),
	}
	if version < 2 {
		r.Tap = "lkl0e1c"
	} else {
		r.Links = formatLinks
	}
	return r
}

func formatState(version int) taskState {
	s := taskState{
		Dir: "/var/lib/nomad-driver-lkl/tasks/0123456789abcdef", Tender: "spt",
		Executor: executor.Process{Pid: 4711, StartTime: 81234, BootID: "b00t"},
		Guest:    executor.Process{Pid: 4712, StartTime: 81235, BootID: "b00t"},
		UID:      0x70000001, Control: true,
		Kernel: "local/web.spt", KernelDigest: "e3b0c442", Flavor: "lkl", GuestMemory: 62783488,
		IP: "172.26.64.5", MAC: "02:00:00:00:00:09", Netns: "/var/run/netns/0e1c", Tap: "lkl0e1c",
		Cgroup: formatCgroup, StartedAt: 1795774272130000000,
	}
	if version >= 2 {
		s.Image, s.ImageDigest, s.StopSignal = "registry.example.com/web:1.0", "sha256:e3b0c442", "SIGQUIT"
	}
	if version >= 3 {
		s.Links = formatLinks
	}
	return s
}

func TestRecord_ReadsEveryVersion(t *testing.T) {
	for name, version := range map[string]int{"record-v0.json": 0, "record-v1.json": 1, "record-v2.json": 2} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must.NoError(t, os.WriteFile(filepath.Join(dir, recordFile), formatFile(t, name), 0o600))
			got, err := readRecord(dir)
			must.NoError(t, err)
			must.Eq(t, formatRecord(version), got)
		})
	}
}

func TestRecord_WritesTheCurrentVersion(t *testing.T) {
	dir := t.TempDir()
	must.NoError(t, formatRecord(recordVersion).write(dir))
	got, err := os.ReadFile(filepath.Join(dir, recordFile))
	must.NoError(t, err)
	must.Eq(t, string(formatFile(t, "record-v2.json")), string(got))
}

func TestHandle_ReadsEveryVersion(t *testing.T) {
	for name, version := range map[string]int{"handle-v1.msgpack": 1, "handle-v2.msgpack": 2, "handle-v3.msgpack": 3} {
		handle := drivers.NewTaskHandle(version)
		handle.DriverState = formatFile(t, name)
		got, err := decodeState(handle)
		must.NoError(t, err)
		must.Eq(t, formatState(version), got)
	}
}

// A task of an earlier version has its only device in the alloc's namespace.
func TestFormats_EarlierVersionsHaveOneLink(t *testing.T) {
	for version := range recordVersion {
		must.Eq(t, []link{{Mode: modeL2, Netns: "/var/run/netns/0e1c", Tap: "lkl0e1c"}}, formatRecord(version).allLinks())
	}
	must.Eq(t, formatLinks, formatRecord(recordVersion).allLinks())
	must.SliceEmpty(t, record{}.allLinks())
	for version := 1; version < handleVersion; version++ {
		must.Eq(t, []link{{
			Mode: modeL2, Netns: "/var/run/netns/0e1c", Tap: "lkl0e1c", IP: "172.26.64.5", MAC: "02:00:00:00:00:09",
		}}, formatState(version).allLinks())
	}
	must.Eq(t, formatLinks, formatState(handleVersion).allLinks())
}

func TestHandle_WritesTheCurrentVersion(t *testing.T) {
	handle, err := encodeHandle(plainTask(), formatState(handleVersion))
	must.NoError(t, err)
	must.Eq(t, 3, handle.Version)
	must.Eq(t, formatFile(t, "handle-v3.msgpack"), handle.DriverState)
}
