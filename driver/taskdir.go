// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/client"
)

// Names in a task's directory. The executor adds its own.
const (
	recordFile = "task.json"
	kernelFile = "kernel"
	diskFile   = "rootfs"
)

// A taskDir is the directory of one task, and the record in it.
type taskDir struct {
	path   string
	record record
}

// taskDirPath returns the path of a task's directory. Its name is a hash,
// because a task ID contains slashes. (The length of the path does not matter:
// sockets are reached through a descriptor of the directory.)
func taskDirPath(stateDir, taskID string) string {
	return filepath.Join(tasksDir(stateDir), shortHash(taskID))
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// claimTaskDir creates the task's directory. An earlier start of the same task
// is removed first: Nomad runs one at a time.
func (d *Driver) claimTaskDir(ctx context.Context, task *drivers.TaskConfig, undo *undo) (taskDir, error) {
	r, err := newRecord(task)
	if err != nil {
		return taskDir{}, err
	}
	if err := d.removeEarlierStarts(ctx, r); err != nil {
		return taskDir{}, retryable(fmt.Errorf("remove an earlier start of this task: %w", err))
	}
	path, err := createTaskDir(d.config.StateDir, r)
	if err != nil {
		return taskDir{}, retryable(err)
	}
	undo.add(func() error { return removeTask(d.ctx, path, r, client.Known{}) })
	return taskDir{path: path, record: r}, nil
}

// createTaskDir creates a task's directory with its record in it. The directory
// gets its final name only after the record is on disk. So every directory in
// tasksDir has a record, however early the plugin is killed or the host crashes.
func createTaskDir(stateDir string, r record) (string, error) {
	if err := makeStateDir(stateDir); err != nil {
		return "", err
	}
	// All starts of a task use the same name, so that the next start removes the
	// directory that a killed plugin has left.
	incomplete := filepath.Join(incompleteDir(stateDir), shortHash(r.AllocID+"/"+r.Name))
	if err := os.RemoveAll(incomplete); err != nil {
		return "", fmt.Errorf("remove an incomplete task directory: %w", err)
	}
	if err := os.Mkdir(incomplete, 0o700); err != nil {
		return "", fmt.Errorf("create the task directory: %w", err)
	}
	path := taskDirPath(stateDir, r.Task)
	err := r.write(incomplete)
	if err == nil {
		err = os.Rename(incomplete, path)
	}
	if err != nil {
		_ = os.RemoveAll(incomplete) // if this fails, the sweep tries again
		return "", fmt.Errorf("create the task directory: %w", err)
	}
	return path, nil
}

// sweepIncomplete removes the incomplete task directories that killed plugins
// left. A recent one may belong to another plugin that is about to complete it.
func sweepIncomplete(stateDir string, unusedSince time.Time) error {
	entries, err := os.ReadDir(incompleteDir(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the incomplete task directories: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.ModTime().After(unusedSince) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(incompleteDir(stateDir), e.Name())); err != nil {
			return fmt.Errorf("remove an incomplete task directory: %w", err)
		}
	}
	return nil
}
