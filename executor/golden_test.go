// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	goldenExecutor = Process{Pid: 100, StartTime: 12345, BootID: "3f0d4a6e-0000-4000-8000-000000000001"}
	goldenGuest    = Process{Pid: 101, StartTime: 12346, BootID: "3f0d4a6e-0000-4000-8000-000000000001"}
	goldenFiles    = Process{Pid: 102, StartTime: 12346, BootID: "3f0d4a6e-0000-4000-8000-000000000001"}
	goldenTime     = time.Date(2026, 11, 27, 13, 21, 1, 123456789, time.UTC)
)

const goldenEnd = "killed by SIGKILL"

// goldenPlan is a plan with every field of a version.
func goldenPlan(version int) Plan {
	p := Plan{
		Version: version, Task: "8f2e/web/1", Dir: "/var/lib/tasks/1", Tender: TenderSPT, Memory: 64 << 20,
		CommandLine: `{"cmdline":"<a> & b"}`, ExecHeap: true, HugePages: true, KernelFD: 2,
		Devices: []Device{
			{
				Name: "rootfs", Type: unikernel.Block, FD: 1, Capacity: 1 << 30, BlockSize: 512,
				MaxTransfer: 128 << 10, Flush: true,
			},
			{Name: "eth0", Type: unikernel.Net, FD: 0, MAC: [6]byte{2, 0, 0, 0xab, 0xcd, 0xef}, MTU: 1450},
			{Name: "control", Type: unikernel.Net, Control: true},
		},
		Stdout: "/alloc/logs/.web.stdout.fifo", Stderr: "/alloc/logs/.web.stderr.fifo", OutputRoot: "/alloc",
		UIDBase: 0x70000000, Root: "/var/lib/empty",
		Cgroup: cgroup.Spec{
			Version: cgroup.V1, Unified: "/sys/fs/cgroup/nomad.slice/8f2e.web.scope",
			Freezer: "/sys/fs/cgroup/freezer/nomad/8f2e.web", Memory: "/sys/fs/cgroup/memory/nomad/8f2e.web",
			CPU: "/sys/fs/cgroup/cpu/nomad/8f2e.web", CPUSet: "/sys/fs/cgroup/cpuset/nomad/share",
			Limits: cgroup.Limits{MemoryBytes: 64 << 20, MemoryLow: 32 << 20, CPUShares: 100, CPUs: "0,2-3"},
		},
	}
	if version >= 2 {
		p.Devices = append(p.Devices, Device{Name: unikernel.DeviceFiles, Type: unikernel.Net, Files: true})
		p.CommandLineFD = new(int)
		p.Files = &FilesPlan{ProgramFD: 3, Server: files.Plan{
			Version: 1, UID: 1000, GID: 100,
			Shares: []files.Share{
				{FD: 4, ReadOnly: true, Follow: true},
				{FD: 5, ReadOnlyDirs: []string{"logs"}, Hidden: []files.Inode{{Dev: 2049, Ino: 131}}},
			},
		}}
	}
	p.SeparateStderr = version >= 3
	return p
}

// goldens has a value of every format that outlives a process or crosses a socket,
// by the name of its file in testdata/vN. A new version gets another directory, and the
// files of earlier ones must stay readable.
func goldens(version int) map[string]any {
	id := Identity{
		Version: version, MinVersion: 1, Task: "8f2e/web/1",
		Executor: goldenExecutor, Guest: goldenGuest, UID: 0x70000064,
	}
	exit := Exit{
		Code: 1, Signal: 9, OOMKilled: true, Reason: "out of memory: the task may use 64 MiB",
		Finished: goldenTime, Dropped: 4096,
	}
	state := State{
		Version: version, Task: "8f2e/web/1", Tender: TenderSPT, Guest: goldenGuest, Executor: goldenExecutor,
		UID: 0x70000064, Started: goldenTime, Control: true, Dropped: 4096,
	}
	if version >= 2 {
		id.Files, state.Files = goldenFiles, goldenFiles
		exit.FilesEnded, state.FilesEnded = goldenEnd, goldenEnd
	}
	if version >= 3 {
		exit.Message = "lkl: the program was killed because the guest ran out of memory: give it more"
	}
	plan := goldenPlan(version)
	written := plan
	written.CommandLine = ""
	all := map[string]any{
		"plan.json":           written,
		"executor.json":       id,
		"exit.json":           ExitRecord{Version: version, Executor: goldenExecutor, Guest: goldenGuest, Exit: exit},
		"order.json":          Order{Files: 3 * min(version, 2), Plan: plan},
		"request-state.json":  Request{Version: version, Op: OpState},
		"request-wait.json":   Request{Version: version, Op: OpWait},
		"request-signal.json": Request{Version: version, Op: OpSignal, Signal: 10},
		"request-stop.json":   Request{Version: version, Op: OpStop, Signal: 15, TimeoutMS: 5000},
		"response-done.json":  Response{Version: version},
		"response-error.json": Response{Version: version, Error: `unknown operation "dance"`},
		"response-state.json": Response{Version: version, State: &state},
		"response-exit.json":  Response{Version: version, Exit: &exit},
	}
	if version == 1 { // written by builds before MinVersion existed
		id.MinVersion = 0
		all["executor-without-min-version.json"] = id
	}
	return all
}

// Executors and plugins of different builds exchange these formats. A name or a
// type in them must not change without a new version. Builds of this version also write
// values that version 1 had as version 1 wrote them.
func TestFormats_EqualTheirGoldenFiles(t *testing.T) {
	for version := MinVersion; version <= Version; version++ {
		for name, value := range goldens(version) {
			path := filepath.Join("testdata", fmt.Sprintf("v%d", version), name)
			encoded, err := json.Marshal(value)
			must.NoError(t, err)
			encoded = append(encoded, '\n')
			if *update && version == Version {
				must.NoError(t, os.WriteFile(path, encoded, 0o644))
			}
			golden, err := os.ReadFile(path)
			must.NoError(t, err)
			must.Eq(t, string(golden), string(encoded), must.Sprint(path))
		}
	}
}

func TestFormats_GoldenFilesOfEveryVersionAreRead(t *testing.T) {
	for version := MinVersion; version <= Version; version++ {
		for name, want := range goldens(version) {
			path := filepath.Join("testdata", fmt.Sprintf("v%d", version), name)
			golden, err := os.ReadFile(path)
			must.NoError(t, err)
			got := reflect.New(reflect.TypeOf(want))
			must.NoError(t, json.Unmarshal(golden, got.Interface()))
			must.Eq(t, want, got.Elem().Interface(), must.Sprint(path))
		}
	}
}

func TestFormats_UnknownFieldsAreIgnored(t *testing.T) {
	dir := t.TempDir()
	newer := `{"Version":9,"Task":"a","Executor":{"Pid":1,"Future":true},"Future":{}}`
	must.NoError(t, os.WriteFile(filepath.Join(dir, IdentityFile), []byte(newer), 0o600))
	id, err := ReadIdentity(dir)
	must.NoError(t, err)
	must.Eq(t, Identity{Version: 9, Task: "a", Executor: Process{Pid: 1}}, id)
}
