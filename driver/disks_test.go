// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/ext4"
)

const imageInAlloc = "alloc/data/image"

// dataTask prepares a task that counts its starts on a disk.
func (p *testPlugin) dataTask(t *testing.T, config DiskConfig) *drivers.TaskConfig {
	t.Helper()
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"), testenv.Tool("e2fsck"))
	config.Mount = "/data"
	return p.linux(t, "count.c", TaskConfig{Args: []string{"/data"}, Disks: map[string]DiskConfig{"data": config}})
}

// again prepares the next start of a task, as Nomad does after the end of the first.
func (p *testPlugin) again(t *testing.T, task *drivers.TaskConfig) *drivers.TaskConfig {
	t.Helper()
	must.NoError(t, p.DestroyTask(task.ID, true))
	next := task.Copy()
	next.ID += "+"
	collectLogs(t, next)
	t.Cleanup(func() { _ = p.impl.DestroyTask(next.ID, true) })
	return next
}

func imageOf(task *drivers.TaskConfig) string {
	return filepath.Join(task.TaskDir().SharedAllocDir, "data/image")
}

// startCounting starts a task of dataTask and waits until the program has counted the start.
func (p *testPlugin) startCounting(t *testing.T, task *drivers.TaskConfig, count int) *drivers.TaskHandle {
	t.Helper()
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	waitForLine(t, task, fmt.Sprintf("count=%d", count))
	return handle
}

func TestDisk_OutlivesItsTask(t *testing.T) {
	p := newTestPlugin(t)
	task := p.dataTask(t, DiskConfig{Source: imageInAlloc, Size: "20MiB"})
	task.User = "1000:100"
	handle := p.startCounting(t, task, 1)
	waitForLine(t, task, "owner=1000 mode=755\ncount=1")
	for i, kill := range []func(){
		func() { must.NoError(t, p.StopTask(task.ID, time.Minute, "SIGTERM")) },
		func() { must.NoError(t, syscall.Kill(stateOf(t, handle).Guest.Pid, syscall.SIGKILL)) },
		func() { must.NoError(t, syscall.Kill(stateOf(t, handle).Executor.Pid, syscall.SIGKILL)) },
		func() { p = p.restart(t); must.NoError(t, p.RecoverTask(handle)) },
	} {
		kill()
		task = p.again(t, task)
		handle = p.startCounting(t, task, i+2)
	}
	must.NoError(t, p.DestroyTask(task.ID, true))
	info, err := os.Stat(imageOf(task))
	must.NoError(t, err)
	must.Eq(t, 20<<20, info.Size())
	must.Eq(t, 0o600, info.Mode().Perm())
}

func TestDisk_WithoutASourceIsEmptyAtEachStart(t *testing.T) {
	p := newTestPlugin(t)
	task := p.dataTask(t, DiskConfig{Size: "20MiB"})
	handle := p.startCounting(t, task, 1)
	must.NoError(t, p.StopTask(task.ID, time.Minute, "SIGTERM"))
	must.NoError(t, ext4.Check(filepath.Join(stateOf(t, handle).Dir, scratchPrefix+"data")))
	task = p.again(t, task)
	noTrace(t, handle)
	waitForLine(t, task, "ready")
	_, _, err := p.StartTask(task)
	must.NoError(t, err)
	waitFor(t, "the second start", func() bool { return strings.Count(console(task), "count=1\n") == 2 })
}
