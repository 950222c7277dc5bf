// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// addTask copies a record of the driver into a state directory, and returns the task's
// directory.
func addTask(t *testing.T, stateDir, record string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../../driver/testdata/formats", record))
	must.NoError(t, err)
	dir := filepath.Join(stateDir, "tasks", record)
	must.NoError(t, os.MkdirAll(dir, 0o700))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "task.json"), content, 0o600))
	return dir
}

func TestTasks_ListsRecordsOfEachVersion(t *testing.T) {
	testenv.Need(t, testenv.Root)
	dir := t.TempDir()
	for _, record := range []string{"record-v0.json", "record-v1.json", "record-v2.json"} {
		addTask(t, dir, record)
	}
	status, out, errs := runProgram("tasks", "--state-dir", dir)
	must.Eq(t, exitOK, status, must.Sprint(errs))
	must.StrContains(t, out, "lkl0")
	for _, row := range []string{
		"0e1c web ended - tap shared lkl0 172.26.64.5,fd00::5 - - -",
		"0e1c web ended - uplink host lkl7 198.18.0.30 - - -",
		"0e1c web ended - spare none lkl0 - - - -",
	} {
		must.StrContains(t, squeeze(out), row)
	}

	status, out, errs = runProgram("tasks", "--json", "--state-dir", dir)
	must.Eq(t, exitOK, status, must.Sprint(errs))
	var tasks []listedTask
	must.NoError(t, json.Unmarshal([]byte(out), &tasks))
	must.SliceLen(t, 3, tasks)
	newest := tasks[2]
	must.Eq(t, "0e1c/web/4b2f", newest.Task)
	must.Eq(t, listedLink{
		Device: "tap", Mode: "shared", Netns: "/var/run/netns/0e1c", Interface: "eth0", Tap: "lkl0",
		IP: "172.26.64.5", IPv6: "fd00::5", MAC: "02:00:00:00:00:09",
	}, newest.Links[0])
}

// squeeze replaces each run of blanks by one.
func squeeze(table string) string {
	var lines []string
	for line := range strings.Lines(table) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

func TestTasks_ReadsPIDAndCountersOfRunningTask(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tun)
	stateDir := t.TempDir()
	dir := addTask(t, stateDir, "record-v2.json")
	// This process stands for the guest. Its interface is lo.
	process, err := executor.FindProcess(os.Getpid())
	must.NoError(t, err)
	identity, err := json.Marshal(executor.Identity{Version: 1, Guest: process})
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(filepath.Join(dir, executor.IdentityFile), identity, 0o600))
	path := filepath.Join(dir, "task.json")
	record, err := os.ReadFile(path)
	must.NoError(t, err)
	changed := strings.Replace(string(record), `"Tap":"lkl7"`, `"Tap":"lo"`, 1)
	must.NoError(t, os.WriteFile(path, []byte(changed), 0o600))
	_, err = network.ReadCounters("", "lo")
	must.NoError(t, err)

	status, out, errs := runProgram("tasks", "--json", "--state-dir", stateDir)
	must.Eq(t, exitOK, status, must.Sprint(errs))
	var tasks []listedTask
	must.NoError(t, json.Unmarshal([]byte(out), &tasks))
	must.True(t, tasks[0].Running)
	must.NotNil(t, tasks[0].Links[1].Counters)
	must.Nil(t, tasks[0].Links[0].Counters) // its namespace does not exist
	must.Nil(t, tasks[0].Links[2].Counters)
	must.Eq(t, os.Getpid(), tasks[0].PID)

	status, out, errs = runProgram("tasks", "--state-dir", stateDir)
	must.Eq(t, exitOK, status, must.Sprint(errs))
	must.StrContains(t, squeeze(out), fmt.Sprintf("0e1c web running %d uplink host lo", os.Getpid()))
}

func TestTasks_WithoutTasks(t *testing.T) {
	testenv.Need(t, testenv.Root)
	status, out, _ := runProgram("tasks", "--json", "--state-dir", t.TempDir())
	must.Eq(t, exitOK, status)
	must.Eq(t, "[]\n", out)
	status, _, errs := runProgram("tasks", "--state-dir", "/nonexistent/lkl")
	must.Eq(t, exitFailed, status)
	must.StrContains(t, errs, "does not exist")
	status, _, _ = runProgram("tasks", "operand")
	must.Eq(t, exitUsage, status)
}
