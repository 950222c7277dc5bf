// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

// The state directory (state_dir), all of it for root alone:
//
//	bin/<digest>/lkl-executor   the per-task program
//	empty/                      the root directory of every guest's process
//	kernels/<digest>            copies of kernels that tasks run, see kernels
//	tasks/<hash>/               one task: what executor.Plan.Dir holds, and
//	    task.json               what the driver must know to clear it away
//	    kernel                  a link to its kernel
//	    rootfs                  the private disk

// Names in a task's directory besides those of the executor.
const (
	recordFile = "task.json"
	kernelFile = "kernel"
	diskFile   = "rootfs"
)

// tasksDir holds the directories of all tasks.
func tasksDir(stateDir string) string { return filepath.Join(stateDir, "tasks") }

// emptyDir is where guests' processes are locked up.
func emptyDir(stateDir string) string { return filepath.Join(stateDir, "empty") }

// taskDir is a task's directory. Its name is a hash because a task id holds
// slashes. (Sockets are reached through the directory's descriptor: however
// long state_dir is, a socket's address has room for it.)
func taskDir(stateDir, taskID string) string {
	sum := sha256.Sum256([]byte(taskID))
	return filepath.Join(tasksDir(stateDir), hex.EncodeToString(sum[:8]))
}

// record is what a later plugin needs to clear a task away that Nomad has
// forgotten, or never knew.
type record struct {
	Task     string // Nomad's task id
	AllocID  string
	Name     string // of the task in its group
	AllocDir string
	Netns    string // "" without a network
	Tap      string
	Cgroup   cgroup.Spec
	Created  time.Time
}

// sameTask tells whether two records are of the same task of the same alloc:
// Nomad gives each start of it another id.
func (r record) sameTask(o record) bool { return r.AllocID == o.AllocID && r.Name == o.Name }

// write stores the record in a task's directory, whole or not at all.
func (r record) write(dir string) error {
	content, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the record of task %s: %w", r.Task, err)
	}
	path := filepath.Join(dir, recordFile)
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return fmt.Errorf("write the record of task %s: %w", r.Task, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write the record of task %s: %w", r.Task, err)
	}
	return nil
}

func readRecord(dir string) (record, error) {
	var r record
	content, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return r, fmt.Errorf("read the record of a task: %w", err)
	}
	if err := json.Unmarshal(content, &r); err != nil {
		return r, fmt.Errorf("decode %s: %w", filepath.Join(dir, recordFile), err)
	}
	return r, nil
}

// readRecords returns the records of all tasks, by directory. A directory
// without a readable record is of a task that had not got far enough to own
// anything outside it; its record is empty.
func readRecords(stateDir string) (map[string]record, error) {
	entries, err := os.ReadDir(tasksDir(stateDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the tasks' directories: %w", err)
	}
	records := make(map[string]record, len(entries))
	for _, e := range entries {
		dir := filepath.Join(tasksDir(stateDir), e.Name())
		r, _ := readRecord(dir)
		records[dir] = r
	}
	return records, nil
}

// makeStateDir makes what all tasks share.
func makeStateDir(stateDir string) error {
	for _, dir := range []string{stateDir, tasksDir(stateDir), kernelsDir(stateDir)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the state directory: %w", err)
		}
	}
	if err := os.MkdirAll(emptyDir(stateDir), 0o755); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	return nil
}
