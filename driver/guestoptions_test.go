// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

func TestLinux_HasTheStackAndRootOptionsOfTheJob(t *testing.T) {
	p := newTestPlugin(t)
	task := p.linux(t, "options.c", TaskConfig{StackSize: "25MiB", RootfsOptions: "noatime,errors=remount-ro,nodev"})
	p.startLinux(t, task)
	waitForLine(t, task, "stack 14")
	must.RegexMatch(t, regexp.MustCompile(`(?m)^\S+ / ext4 rw,nodev,noatime,errors=remount-ro 0 0$`), console(task))
	must.Zero(t, p.wait(t, task).ExitCode)
}

func TestLinux_UnknownRootOptionsEndTheStart(t *testing.T) {
	p := newTestPlugin(t)
	task := p.linux(t, "options.c", TaskConfig{RootfsOptions: "unknown=1"})
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	must.Eq(t, 122, p.wait(t, task).ExitCode)
	waitFor(t, "the guest's message", func() bool { return strings.Contains(errorsOf(task), "an option is unknown\n") })
}

// A root that is mounted read-only still starts and ends cleanly.
func TestLinux_RootMayBeReadOnly(t *testing.T) {
	p := newTestPlugin(t)
	task := p.linux(t, "options.c", TaskConfig{StackSize: "25MiB", RootfsOptions: "ro"})
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "run", "alloc", "local", "secrets"} {
		must.NoError(t, os.Mkdir(filepath.Join(task.TaskDir().LocalDir, "root", dir), 0o755))
	}
	p.startLinux(t, task)
	must.RegexMatch(t, regexp.MustCompile(`(?m)^\S+ / ext4 ro,`), console(task))
	must.StrNotContains(t, console(task), "cannot")
	must.Zero(t, p.wait(t, task).ExitCode)
}
