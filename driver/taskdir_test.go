// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

func TestTaskDir_HasItsRecordFromTheFirstMoment(t *testing.T) {
	stateDir := t.TempDir()
	must.NoError(t, makeStateDir(stateDir))
	r := record{Version: recordVersion, Task: "a/web/1", AllocID: "a", Name: "web"}
	// A plugin was killed before it wrote the record of an earlier start.
	must.NoError(t, os.Mkdir(filepath.Join(incompleteDir(stateDir), shortHash("a/web")), 0o700))

	path, err := createTaskDir(stateDir, r)
	must.NoError(t, err)
	got, err := readRecord(path)
	must.NoError(t, err)
	must.Eq(t, r, got)
	left, err := os.ReadDir(incompleteDir(stateDir))
	must.NoError(t, err)
	must.SliceEmpty(t, left)
}

func TestSweepIncomplete_RemovesOldDirectories(t *testing.T) {
	stateDir := t.TempDir()
	must.NoError(t, sweepIncomplete(stateDir, time.Now())) // the directory is missing
	must.NoError(t, makeStateDir(stateDir))
	dir := filepath.Join(incompleteDir(stateDir), "0123456789abcdef")
	must.NoError(t, os.Mkdir(dir, 0o700))
	must.NoError(t, sweepIncomplete(stateDir, time.Now().Add(-time.Minute)))
	must.DirExists(t, dir) // another plugin may be about to complete it
	must.NoError(t, sweepIncomplete(stateDir, time.Now().Add(time.Minute)))
	must.DirNotExists(t, dir)
}

func TestRecord_RoundTrip(t *testing.T) {
	r := record{Task: "a/web/1", AllocID: "a", Name: "web", AllocDir: "/x", Netns: "/n", Tap: "tap0", Created: fixedTime.Add(time.Second)}
	dir := makeStray(t, t.TempDir(), r)
	got, err := readRecord(dir)
	must.NoError(t, err)
	must.Eq(t, r, got)
	info, err := os.Stat(filepath.Join(dir, recordFile))
	must.NoError(t, err)
	must.Eq(t, 0o600, info.Mode().Perm())
}
