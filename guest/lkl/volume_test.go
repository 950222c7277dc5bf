// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestVolume_IsADirectoryOfTheHost(t *testing.T) {
	testenv.Need(t, testenv.Root)
	dir := t.TempDir()
	file := filepath.Join(dir, "from-host")
	must.NoError(t, os.WriteFile(file, []byte("hello\n"), 0o644))
	lines, status := runGuest(t, guestSpec{
		options: []string{"--volume=" + dir + ":/data", "--volume=" + dir + ":/fixed:ro", "--volume=" + file + ":/etc/one"},
		config:  map[string]any{"uid": "7", "hostname": "volumes"},
		args: []string{
			"file", "/data/from-host", "file", "/etc/one", "write", "/data/from-guest", "write", "/fixed/no",
			"list", "/fixed", "identity",
		},
	})
	must.Eq(t, 0, status, must.Sprint(lines))
	must.Eq(t, []string{
		"/data/from-host: hello", "/etc/one: hello", "write: Permission denied", "write: Read-only file system",
		"list: 3 entries", "uid 7 gid 0 groups 0 directory / host volumes",
	}, lines)
	must.NoError(t, os.Chmod(dir, 0o777))
	lines, status = runGuest(t, guestSpec{
		options: []string{"--volume=" + dir + ":/data"}, config: map[string]any{"uid": "7"},
		args: []string{"write", "/data/from-guest"},
	})
	must.Eq(t, 0, status, must.Sprint(lines))
	content, err := os.ReadFile(filepath.Join(dir, "from-guest"))
	must.NoError(t, err)
	must.Eq(t, "written\n", string(content))
}
