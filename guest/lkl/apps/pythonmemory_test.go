// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// The page cache of 20,000 small files fills most of the memory. The kernel must reclaim
// it for the stacks of threads and for large objects.
func TestPython_HasMemoryAfterFileActivity(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-python3.spt", testLimit) {
		return
	}
	dir := t.TempDir()
	files, root := filepath.Join(dir, "files"), filepath.Join(dir, "root.ext4")
	must.NoError(t, os.CopyFS(files, os.DirFS(strings.TrimSuffix(testenv.Guest(t, "lkl-python3.spt"), ".spt")+".root")))
	program, err := os.ReadFile("testdata/after_files.py")
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(filepath.Join(files, "after_files.py"), program, 0o644))
	must.NoError(t, disk.Build(t.Context(), files, root, disk.BuildOptions{Size: 1 << 30}))

	status, console := machine{"lkl-python3.spt", root, "", 128}.start(t, "/after_files.py", "20000").output()
	must.Eq(t, 0, status)
	must.StrContains(t, console, "threads 50\ntext 2888890\n")
}
