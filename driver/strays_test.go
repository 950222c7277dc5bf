// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
)

// testDriver returns a plugin that ends with the test.
func testDriver(t testing.TB) *Driver {
	return New(t.Context(), hclog.NewNullLogger(), nil)
}

// makeStray creates a task's directory as a killed plugin leaves it.
func makeStray(t *testing.T, stateDir string, r record) string {
	t.Helper()
	dir := taskDirPath(stateDir, r.Task)
	must.NoError(t, os.MkdirAll(dir, 0o700))
	must.NoError(t, r.write(dir))
	return dir
}

func TestSweep_RemovesOnlyTasksWithoutAnAlloc(t *testing.T) {
	d := testDriver(t)
	d.use(Config{StateDir: t.TempDir()})
	allocs := t.TempDir()
	must.NoError(t, os.Mkdir(filepath.Join(allocs, "alive"), 0o700))

	gone := makeStray(t, d.config.StateDir, record{Task: "gone/web/1", AllocDir: filepath.Join(allocs, "gone")})
	alive := makeStray(t, d.config.StateDir, record{Task: "alive/web/1", AllocDir: filepath.Join(allocs, "alive")})
	unmounted := makeStray(t, d.config.StateDir, record{Task: "far/web/1", AllocDir: filepath.Join(allocs, "not", "there")})
	claimed := makeStray(t, d.config.StateDir, record{Task: "claimed/web/1", AllocDir: filepath.Join(allocs, "claimed")})
	unrecorded := taskDirPath(d.config.StateDir, "unrecorded")
	must.NoError(t, os.MkdirAll(unrecorded, 0o700))

	must.NoError(t, d.findStrays())
	must.NoError(t, d.strays.forget(claimed))
	d.sweepStrays()

	must.DirNotExists(t, gone)
	must.DirNotExists(t, unrecorded)
	must.DirExists(t, alive)
	must.DirExists(t, unmounted)
	must.DirExists(t, claimed)
	must.MapLen(t, 2, d.strays.records())
}

func TestSweep_SparesATaskThatAnotherPluginIsStarting(t *testing.T) {
	d := testDriver(t)
	d.use(Config{StateDir: t.TempDir()})
	task := record{Task: "a/web/1", AllocDir: t.TempDir()}
	dir := taskDirPath(d.config.StateDir, task.Task)
	must.NoError(t, os.MkdirAll(dir, 0o700))
	must.NoError(t, d.findStrays()) // before its record is written
	must.NoError(t, task.write(dir))
	d.sweepStrays()
	must.DirExists(t, dir)
}

func TestStart_RemovesAnEarlierStartOfTheTask(t *testing.T) {
	d := testDriver(t)
	d.use(Config{StateDir: t.TempDir()})
	same := makeStray(t, d.config.StateDir, record{Task: "a/web/1", AllocID: "a", Name: "web"})
	other := makeStray(t, d.config.StateDir, record{Task: "a/db/1", AllocID: "a", Name: "db"})
	// The plugin was killed while it unpacked an archive.
	staged := filepath.Join(same, ".lkl-stage-1", "closed")
	must.NoError(t, os.MkdirAll(staged, 0o700))
	must.NoError(t, os.WriteFile(filepath.Join(staged, "file"), nil, 0o000))
	must.NoError(t, os.Symlink("/etc", filepath.Join(staged, "link")))
	must.NoError(t, d.findStrays())
	must.NoError(t, d.removeStrays(t.Context(), record{Task: "a/web/2", AllocID: "a", Name: "web"}))
	must.DirNotExists(t, same)
	must.DirExists(t, other)
	must.DirExists(t, "/etc")
}

// A stray stays known until its removal succeeds. Otherwise a retried start of
// the task would run at the same time as the stray.
func TestStrays_FailedRemovalIsRetried(t *testing.T) {
	d := testDriver(t)
	d.use(Config{StateDir: t.TempDir()})
	allocDir := filepath.Join(t.TempDir(), "gone")
	dir := makeStray(t, d.config.StateDir, record{Task: "a/web/1", AllocID: "a", Name: "web", AllocDir: allocDir})
	unreadable := filepath.Join(dir, executor.IdentityFile)
	must.NoError(t, os.Mkdir(unreadable, 0o700)) // so the executor cannot be found
	must.NoError(t, d.findStrays())

	next := record{Task: "a/web/2", AllocID: "a", Name: "web"}
	must.Error(t, d.removeStrays(t.Context(), next))
	must.Error(t, d.removeStrays(t.Context(), next))
	d.sweepStrays()
	must.DirExists(t, dir)
	must.NoError(t, os.Remove(unreadable))
	must.NoError(t, d.removeStrays(t.Context(), next))
	must.DirNotExists(t, dir)
	must.MapEmpty(t, d.strays.records())
}

func TestStrays_OneRemovalAtATime(t *testing.T) {
	var s strays
	s.add("dir", record{})
	must.NoError(t, s.remove("dir", func() error {
		must.ErrorIs(t, s.remove("dir", func() error { return nil }), errRemoving)
		must.ErrorIs(t, s.forget("dir"), errRemoving)
		return nil
	}))
	must.MapEmpty(t, s.records())
	must.NoError(t, s.remove("dir", func() error { t.Fatal("removed twice"); return nil }))
}

func TestSweep_SparesATaskOfANewerPlugin(t *testing.T) {
	d := testDriver(t)
	d.use(Config{StateDir: t.TempDir()})
	dir := makeStray(t, d.config.StateDir, record{
		Version: recordVersion + 1, Task: "a/web/1", AllocDir: filepath.Join(t.TempDir(), "gone"),
	})
	must.NoError(t, d.findStrays())
	d.sweepStrays()
	must.DirExists(t, dir)
}

func TestStart_FailedCleanUpIsRetried(t *testing.T) {
	d := testDriver(t)
	d.use(Config{StateDir: t.TempDir()})
	task := plainTask()
	var undo undo
	dir, err := d.claimTaskDir(t.Context(), task, &undo)
	must.NoError(t, err)
	undo.add(func() error { return errors.New("busy") })
	must.Error(t, d.undoFailedStart(task, &undo, errors.New("a later step failed")))
	must.DirExists(t, dir.path)

	again := task.Copy()
	again.ID += "x"
	_, err = d.claimTaskDir(t.Context(), again, &undo)
	must.NoError(t, err)
	must.DirNotExists(t, dir.path)
}
