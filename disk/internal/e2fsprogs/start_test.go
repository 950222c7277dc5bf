// SPDX-License-Identifier: MPL-2.0

package e2fsprogs

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
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

var seccompMode = regexp.MustCompile(`Seccomp:\s+(\d)`)

func TestStart_FiltersOnlyTheTool(t *testing.T) {
	const status = "/proc/self/status"
	before, err := os.ReadFile(status)
	must.NoError(t, err)

	cmd := newCmd(t.Context(), Sandbox{}, "/bin/cat", openTemp(t), []string{status})
	in, out, err := cmd.StartInteractive()
	must.NoError(t, err)
	defer in.Close()
	defer out.Close()
	tool, err := io.ReadAll(out)
	must.NoError(t, err)
	must.NoError(t, cmd.Wait())
	must.Eq(t, "2", seccompMode.FindStringSubmatch(string(tool))[1])

	after, err := os.ReadFile(status)
	must.NoError(t, err)
	must.Eq(t, seccompMode.FindString(string(before)), seccompMode.FindString(string(after)))
}

func TestCheckInstalled_SearchesSystemDirectories(t *testing.T) {
	if _, err := os.Stat("/usr/sbin/mke2fs"); err != nil {
		t.Skip("needs /usr/sbin/mke2fs:", err)
	}
	t.Setenv("PATH", t.TempDir())
	must.NoError(t, CheckInstalled())
}
