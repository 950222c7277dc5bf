// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/driver"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A plugin that is killed in the middle of a start leaves a task that Nomad never
// hears of. When it starts the task again, nothing of the first one is left.
func TestPlugin_KilledInTheMiddleOfAStart(t *testing.T) {
	testenv.Need(t, testenv.Root)
	const moments, step = 16, 3 * time.Millisecond // a start takes some 20 ms
	stateDir := t.TempDir()
	task, _ := newTask(t, "disk.spt", "mode=check", "bytes=512")
	// Enough that the disk takes a while.
	root := filepath.Join(task.TaskDir().LocalDir, "root")
	must.NoError(t, os.Mkdir(root, 0o755))
	must.NoError(t, os.WriteFile(filepath.Join(root, "file"), make([]byte, 8<<20), 0o644))
	must.NoError(t, task.EncodeConcreteDriverConfig(&driver.TaskConfig{
		Kernel: testenv.Guest(t, "disk.spt"), Rootfs: "local/root", Args: []string{"mode=check", "bytes=512"},
	}))
	failed := 0
	for i := range moments {
		p := startPlugin(t)
		p.configure(t, stateDir)
		id := task.ID
		timer := time.AfterFunc(time.Duration(i)*step, func() { _ = p.cmd.Process.Kill() })
		if _, _, err := p.driver.StartTask(task); err != nil {
			failed++
		}
		timer.Stop()
		_ = p.cmd.Process.Kill() // unless it was already
		p.client.Kill()          // which waits for it

		next := startPlugin(t)
		next.configure(t, stateDir)
		task.ID = id + "x"
		_, _, err := next.driver.StartTask(task)
		must.NoError(t, err)
		left, err := os.ReadDir(filepath.Join(stateDir, "tasks"))
		must.NoError(t, err)
		must.Len(t, 1, left)
		incomplete, err := os.ReadDir(filepath.Join(stateDir, "incomplete"))
		must.NoError(t, err)
		must.SliceEmpty(t, incomplete)
		must.NoError(t, next.driver.DestroyTask(task.ID, true))
		next.client.Kill()
		must.Wait(t, testenv.Eventually(func() error {
			if alive := executors(t, stateDir); len(alive) > 0 {
				return fmt.Errorf("executors still run: %v", alive)
			}
			return nil
		}))
	}
	t.Logf("%d of %d starts failed", failed, moments)
}

// executors are the processes that run the program of a state directory.
func executors(t *testing.T, stateDir string) (pids []string) {
	t.Helper()
	programs, err := filepath.Glob("/proc/[0-9]*/exe")
	must.NoError(t, err)
	for _, exe := range programs {
		// A process that has ended leads nowhere.
		if program, err := os.Readlink(exe); err == nil && strings.HasPrefix(program, stateDir+"/") {
			pids = append(pids, filepath.Base(filepath.Dir(exe)))
		}
	}
	return pids
}
