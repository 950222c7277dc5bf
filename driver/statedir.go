// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/statedir"
)

// The state directory (state_dir). Only root may enter it.
//
//	bin/<digest>/lkl-executor   programs of executors, see executors.go
//	empty/                      the root directory of every guest's process
//	kernels/<digest>            copies of the kernels in use, see kernelCache
//	images/                     the cache of images, see package image
//	incomplete/<hash>/          a task's directory before its record is written
//	tasks/<hash>/               one task: the executor's files, and
//	    task.json               the record of what the task owns
//	    kernel                  a link to its kernel
//	    rootfs                  its private disk

func executorsDir(stateDir string) string  { return filepath.Join(stateDir, "bin") }
func tasksDir(stateDir string) string      { return filepath.Join(stateDir, "tasks") }
func incompleteDir(stateDir string) string { return filepath.Join(stateDir, "incomplete") }
func kernelsDir(stateDir string) string    { return filepath.Join(stateDir, "kernels") }
func emptyDir(stateDir string) string      { return filepath.Join(stateDir, "empty") }

// makeStateDir creates the directories that all tasks share.
func makeStateDir(stateDir string) error {
	if err := statedir.Create(stateDir); err != nil {
		return fmt.Errorf("create the state directory: %w", err)
	}
	for _, dir := range []string{tasksDir(stateDir), incompleteDir(stateDir), kernelsDir(stateDir)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("create the state directory: %w", err)
		}
	}
	if err := os.MkdirAll(emptyDir(stateDir), 0o755); err != nil {
		return fmt.Errorf("create the state directory: %w", err)
	}
	return nil
}

// checkStateDir returns an error if tasks cannot start with this state directory. It
// writes nothing, except for missing directories, because it is called again and again.
func checkStateDir(stateDir string) error {
	makeErr := makeStateDir(stateDir)
	if makeErr != nil && !errors.Is(makeErr, unix.EROFS) {
		return makeErr
	}
	if err := statedir.CheckFileSystem(stateDir); err != nil {
		return err
	}
	return makeErr
}
