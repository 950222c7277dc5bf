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

// UntouchedLoop attaches a loop device and returns its number. At the end of the test, it
// requires that the content of the device is unchanged.
//
// It does not count opens: other processes open all loop devices in search of a free one.
func UntouchedLoop(t testing.TB) (major, minor uint32) {
	t.Helper()
	Need(t, Root, Loop, Tool("losetup"))
	file := filepath.Join(t.TempDir(), "device")
	content := bytes.Repeat([]byte("untouched"), 1<<16)
	must.NoError(t, os.WriteFile(file, content, 0o600))
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	must.NoError(t, err, must.Sprintf("losetup: %s", out))
	path := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		out, err := exec.Command("losetup", "--detach", path).CombinedOutput()
		must.NoError(t, err, must.Sprintf("losetup: %s", out))
		after, err := os.ReadFile(file)
		must.NoError(t, err)
		must.True(t, bytes.Equal(content, after), must.Sprint(path, " was changed"))
	})
	var stat unix.Stat_t
	must.NoError(t, unix.Stat(path, &stat))
	return unix.Major(stat.Rdev), unix.Minor(stat.Rdev)
}
