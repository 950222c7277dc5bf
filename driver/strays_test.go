// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/shoenig/test/must"
)

// testDriver is a plugin that ends with the test.
func testDriver(t testing.TB) *Driver {
	return New(t.Context(), hclog.NewNullLogger())
}

// stray makes a task's directory as a killed plugin leaves it.
func stray(t *testing.T, stateDir string, r record) string {
	t.Helper()
	dir := taskDir(stateDir, r.Task)
	must.NoError(t, os.MkdirAll(dir, 0o700))
	must.NoError(t, r.write(dir))
	return dir
}

func TestSweep_RemovesOnlyWhatHasNoAllocAnyMore(t *testing.T) {
	d := testDriver(t)
	d.config.StateDir = t.TempDir()
	allocs := t.TempDir()
	must.NoError(t, os.Mkdir(filepath.Join(allocs, "alive"), 0o700))

	gone := stray(t, d.config.StateDir, record{Task: "gone/web/1", AllocDir: filepath.Join(allocs, "gone")})
	alive := stray(t, d.config.StateDir, record{Task: "alive/web/1", AllocDir: filepath.Join(allocs, "alive")})
	unmounted := stray(t, d.config.StateDir, record{Task: "far/web/1", AllocDir: filepath.Join(allocs, "not", "there")})
	claimed := stray(t, d.config.StateDir, record{Task: "claimed/web/1", AllocDir: filepath.Join(allocs, "claimed")})
	unrecorded := taskDir(d.config.StateDir, "unrecorded")
	must.NoError(t, os.MkdirAll(unrecorded, 0o700))

	must.NoError(t, d.findStrays())
	_, ok := d.strays.claim(claimed)
	must.True(t, ok)
	d.sweepStrays()

	must.DirNotExists(t, gone)
	must.DirNotExists(t, unrecorded)
	must.DirExists(t, alive)
	must.DirExists(t, unmounted)
	must.DirExists(t, claimed)
	must.MapLen(t, 2, d.strays.list())
}

func TestSweep_SparesATaskThatAnotherPluginWasStarting(t *testing.T) {
	d := testDriver(t)
	d.config.StateDir = t.TempDir()
	task := record{Task: "a/web/1", AllocDir: t.TempDir()}
	dir := taskDir(d.config.StateDir, task.Task)
	must.NoError(t, os.MkdirAll(dir, 0o700))
	must.NoError(t, d.findStrays()) // before its record is written
	must.NoError(t, task.write(dir))
	d.sweepStrays()
	must.DirExists(t, dir)
}

func TestStart_ClearsAwayAnEarlierTryOfTheSameTask(t *testing.T) {
	d := testDriver(t)
	d.config.StateDir = t.TempDir()
	same := stray(t, d.config.StateDir, record{Task: "a/web/1", AllocID: "a", Name: "web"})
	other := stray(t, d.config.StateDir, record{Task: "a/db/1", AllocID: "a", Name: "db"})
	// As a plugin leaves it that is killed while it unpacks an archive.
	staged := filepath.Join(same, ".lkl-stage-1", "closed")
	must.NoError(t, os.MkdirAll(staged, 0o700))
	must.NoError(t, os.WriteFile(filepath.Join(staged, "file"), nil, 0o000))
	must.NoError(t, os.Symlink("/etc", filepath.Join(staged, "link")))
	must.NoError(t, d.findStrays())
	must.NoError(t, d.strays.clear(t.Context(), record{Task: "a/web/2", AllocID: "a", Name: "web"}))
	must.DirNotExists(t, same)
	must.DirExists(t, other)
	must.DirExists(t, "/etc")
}

func TestRecord_RoundTrip(t *testing.T) {
	r := record{Task: "a/web/1", AllocID: "a", Name: "web", AllocDir: "/x", Netns: "/n", Tap: "tap0", Created: fixedTime.Add(time.Second)}
	dir := stray(t, t.TempDir(), r)
	got, err := readRecord(dir)
	must.NoError(t, err)
	must.Eq(t, r, got)
	info, err := os.Stat(filepath.Join(dir, recordFile))
	must.NoError(t, err)
	must.Eq(t, 0o600, info.Mode().Perm())
}
