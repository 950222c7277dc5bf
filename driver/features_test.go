// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
)

// bytesPerWrite returns the average size of the guest's writes. Without the
// feature transfer it is at most a block of 512 bytes. (Reads are no measure:
// they include the kernel, which is read at once.)
func bytesPerWrite(t *testing.T, handle *drivers.TaskHandle) uint64 {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", stateOf(t, handle).Guest.Pid))
	must.NoError(t, err)
	var read, written, reads, writes uint64
	_, err = fmt.Sscanf(string(content), "rchar: %d\nwchar: %d\nsyscr: %d\nsyscw: %d", &read, &written, &reads, &writes)
	must.NoError(t, err)
	return written / writes
}

// The note in its file lists a guest's features, independent of its devices. Its
// root is on its only disk, whose name may be any.
func TestLinux_WithoutAControlDeviceUsesAllOtherFeatures(t *testing.T) {
	t.Setenv("LKL_MANIFEST", "testdata/other-devices.json")
	p := newTestPlugin(t)
	task := p.linux(t, "signals.c", TaskConfig{WorkDir: "/srv", RootfsSync: syncFlush})
	task.User = "1000:100"
	must.NoError(t, os.Chmod(filepath.Join(task.TaskDir().LocalDir, "root", "srv"), 0o777))
	handle := p.startLinux(t, task)
	waitForLine(t, task, "host="+defaultHostname(task)+" uid=1000 gid=100 cwd=/srv alloc="+task.AllocID)
	waitForLine(t, task, "disk=write back")
	must.Greater(t, tender.MinBlockSize, bytesPerWrite(t, handle))
	must.Eq(t, 54<<20-128<<10, stateOf(t, handle).GuestMemory)

	must.False(t, stateOf(t, handle).Control)
	must.ErrorContains(t, p.SignalTask(task.ID, "SIGUSR1"), "control")
	must.NoError(t, p.StopTask(task.ID, time.Minute, ""))
	must.Eq(t, int(syscall.SIGTERM), p.wait(t, task).Signal)
}

// removeFeatures removes the list of features from a task's kernel.
func removeFeatures(t *testing.T, task *drivers.TaskConfig) {
	t.Helper()
	kernel := filepath.Join(task.TaskDir().LocalDir, "kernel")
	content, err := os.ReadFile(kernel)
	must.NoError(t, err)
	must.Eq(t, 1, bytes.Count(content, []byte("nomad-driver-lkl\x00")))
	content = bytes.Replace(content, []byte("nomad-driver-lkl\x00"), []byte("another-owner-xx\x00"), 1)
	must.NoError(t, os.WriteFile(kernel, content, 0o644))
}

// A guest without a note is configured as a legacy LKL guest, even if it has a
// control device. It still gets signals.
func TestLinux_WithoutFeaturesIsALegacyGuest(t *testing.T) {
	p := newTestPlugin(t)
	task := p.linux(t, "signals.c", TaskConfig{})
	removeFeatures(t, task)
	handle := p.startLinux(t, task)
	waitForLine(t, task, "host="+defaultHostname(task)+" uid=0 gid=0 cwd=/ alloc="+task.AllocID)
	must.LessEq(t, tender.MinBlockSize, bytesPerWrite(t, handle))
	must.Eq(t, 48<<20, stateOf(t, handle).GuestMemory)
	must.True(t, stateOf(t, handle).Control)
	must.NoError(t, p.StopTask(task.ID, time.Minute, ""))
	must.Eq(t, 7, p.wait(t, task).ExitCode)
}
