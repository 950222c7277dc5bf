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

// bytesPerWrite is how much the guest has written with each call, on average:
// at most a block of its disk, 512 bytes, unless it was told that more may be had.
// (What it reads begins with the kernel itself, in one piece.)
func bytesPerWrite(t *testing.T, handle *drivers.TaskHandle) uint64 {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", stateOf(t, handle).Guest.Pid))
	must.NoError(t, err)
	var read, written, reads, writes uint64
	_, err = fmt.Sscanf(string(content), "rchar: %d\nwchar: %d\nsyscr: %d\nsyscw: %d", &read, &written, &reads, &writes)
	must.NoError(t, err)
	return written / writes
}

// What a guest of lkl-cc understands is said in its file, whatever its devices; its
// root is on its only disk, by any name.
func TestLinux_WithoutAControlDeviceIsToldAllElse(t *testing.T) {
	t.Setenv("LKL_MANIFEST", "testdata/other-devices.json")
	b := newBed(t)
	task := b.linux(t, "signals.c", TaskConfig{WorkDir: "/local", RootfsSync: syncFlush})
	task.User = "1000:100"
	handle := b.startLinux(t, task)
	says(t, task, "host="+hostname(task)+" uid=1000 gid=100 cwd=/local alloc="+task.AllocID)
	says(t, task, "disk=write back")
	must.Greater(t, tender.MinBlockSize, bytesPerWrite(t, handle))
	must.Eq(t, 60<<20-128<<10, stateOf(t, handle).GuestMemory)

	must.False(t, stateOf(t, handle).Control)
	must.ErrorContains(t, b.SignalTask(task.ID, "SIGUSR1"), "control")
	must.NoError(t, b.StopTask(task.ID, time.Minute, ""))
	must.Eq(t, int(syscall.SIGTERM), b.wait(t, task).Signal)
}

// A guest whose file does not say what it understands is told what those of
// 2020 are, though it has a control device; and is sent signals.
func TestLinux_WithoutANoteIsToldNothingNew(t *testing.T) {
	b := newBed(t)
	task := b.linux(t, "signals.c", TaskConfig{})
	kernel := filepath.Join(task.TaskDir().LocalDir, "kernel")
	content, err := os.ReadFile(kernel)
	must.NoError(t, err)
	must.Eq(t, 1, bytes.Count(content, []byte("nomad-driver-lkl\x00")))
	content = bytes.Replace(content, []byte("nomad-driver-lkl\x00"), []byte("another-owner-xx\x00"), 1)
	must.NoError(t, os.WriteFile(kernel, content, 0o644))
	handle := b.startLinux(t, task)
	says(t, task, "host="+hostname(task)+" uid=0 gid=0 cwd=/ alloc="+task.AllocID)
	must.LessEq(t, tender.MinBlockSize, bytesPerWrite(t, handle))
	must.Eq(t, 48<<20, stateOf(t, handle).GuestMemory)
	must.True(t, stateOf(t, handle).Control)
	must.NoError(t, b.StopTask(task.ID, time.Minute, ""))
	must.Eq(t, 7, b.wait(t, task).ExitCode)
}
