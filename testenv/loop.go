// SPDX-License-Identifier: MPL-2.0

package testenv

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// UntouchedLoop attaches a loop device. It returns the path and the number of the device.
// At the end of the test, it requires that no process has opened the device or changed
// its content.
func UntouchedLoop(t testing.TB) (path string, major, minor uint32) {
	t.Helper()
	Need(t, Root, Loop, Tool("losetup"))
	file := filepath.Join(t.TempDir(), "device")
	content := bytes.Repeat([]byte("untouched"), 1<<16)
	must.NoError(t, os.WriteFile(file, content, 0o600))
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	must.NoError(t, err, must.Sprintf("losetup: %s", out))
	path = strings.TrimSpace(string(out))
	opens := Opens(t, path)
	t.Cleanup(func() {
		must.Eq(t, 0, opens(), must.Sprint(path, " was opened"))
		out, err := exec.Command("losetup", "--detach", path).CombinedOutput()
		must.NoError(t, err, must.Sprintf("losetup: %s", out))
		after, err := os.ReadFile(file)
		must.NoError(t, err)
		must.True(t, bytes.Equal(content, after), must.Sprint(path, " was changed"))
	})
	var stat unix.Stat_t
	must.NoError(t, unix.Stat(path, &stat))
	return path, unix.Major(stat.Rdev), unix.Minor(stat.Rdev)
}
