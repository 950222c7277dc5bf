// SPDX-License-Identifier: MPL-2.0

package e2fsprogs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

func openTemp(t *testing.T) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "image")
	must.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestStart_ConfinesToolToDirectory(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	inside := filepath.Join(dir, "file")
	for _, path := range []string{inside, outside} {
		must.NoError(t, os.WriteFile(path, []byte("text"), 0o644))
	}
	must.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	image := openTemp(t)
	root, err := os.Open(dir)
	must.NoError(t, err)
	defer root.Close()
	for path, readable := range map[string]bool{
		inside: true, ImagePath: true, outside: false, filepath.Join(dir, "link"): false, "/etc/passwd": false,
	} {
		cmd := newCmd(t.Context(), Sandbox{}, "/bin/cat", image, []string{path})
		cmd.Directory, cmd.RequireConfinement = root, true
		err := cmd.Run()
		must.Eq(t, readable, err == nil, must.Sprint(path, err))
	}
}
