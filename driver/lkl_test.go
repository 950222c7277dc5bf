// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// linux makes a task of a C program of testdata on Linux, in a network of its
// own, with an empty root disk.
func (b *bed) linux(t *testing.T, program string, job TaskConfig) *drivers.TaskConfig {
	t.Helper()
	n := newAllocNetwork(t)
	job.Kernel, job.Rootfs, job.RootfsSize = "local/kernel", "local/root", "32MiB"
	task := b.task(t, TaskConfig{Kernel: "hello.spt"}, true) // for its directory
	task.NetworkIsolation = n.spec()
	task.Env["NOMAD_ALLOC_ID"] = task.AllocID
	local := task.TaskDir().LocalDir
	must.NoError(t, exec.Command("mkdir", "-p", filepath.Join(local, "root", "srv")).Run())
	out, err := exec.Command(testenv.Guest(t, "lkl-cc"), "-O1", "-o", filepath.Join(local, "kernel"),
		filepath.Join("testdata", program)).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	must.NoError(t, task.EncodeConcreteDriverConfig(&job))
	return task
}

func (b *bed) startLinux(t *testing.T, task *drivers.TaskConfig) *drivers.TaskHandle {
	t.Helper()
	handle, _, err := b.StartTask(task)
	must.NoError(t, err)
	says(t, task, "ready")
	return handle
}

// says waits for a line on the task's console.
func says(t *testing.T, task *drivers.TaskConfig, line string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%q in the console", line), func() bool {
		return strings.Contains(console(task), line+"\n")
	})
}

func TestLinux_SignalsReachTheProgram(t *testing.T) {
	b := newBed(t)
	task := b.linux(t, "signals.c", TaskConfig{Args: []string{"two words", `"\`, ""}})
	handle := b.startLinux(t, task)
	must.True(t, stateOf(t, handle).Control)
	says(t, task, "arg1=[two words]\narg2=[\"\\]\narg3=[]")
	says(t, task, "host="+hostname(task)+" uid=0 gid=0 cwd=/ alloc="+task.AllocID)
	for _, name := range []string{"SIGHUP", "SIGUSR1", "SIGWINCH"} {
		must.NoError(t, b.SignalTask(task.ID, name))
	}
	says(t, task, "signal=1\nsignal=10\nsignal=28")

	must.NoError(t, b.StopTask(task.ID, time.Minute, ""))
	result := b.wait(t, task)
	must.Eq(t, 7, result.ExitCode, must.Sprint(console(task)))
	must.Eq(t, 0, result.Signal)
	says(t, task, "signal=15")

	image := filepath.Join(stateOf(t, handle).Dir, diskFile)
	must.NoError(t, disk.Check(t.Context(), image))
	content, err := disk.Get(t.Context(), image, "/written")
	must.NoError(t, err)
	must.Eq(t, "kept\n", string(content))
	must.NoError(t, b.DestroyTask(task.ID, false))
	nothingLeft(t, handle)
}

func TestLinux_StartsTheProgramAsTheUserInTheDirectory(t *testing.T) {
	b := newBed(t)
	task := b.linux(t, "signals.c", TaskConfig{WorkDir: "/local"})
	task.User = "1000:100"
	handle := b.startLinux(t, task)
	says(t, task, "host="+hostname(task)+" uid=1000 gid=100 cwd=/local alloc="+task.AllocID)
	must.NoError(t, b.StopTask(task.ID, time.Minute, ""))
	image := filepath.Join(stateOf(t, handle).Dir, diskFile)
	content, err := disk.Get(t.Context(), image, "/local/written") // the task's directory is its user's
	must.NoError(t, err)
	must.Eq(t, "kept\n", string(content))
}

func TestLinux_StopSendsTheJobsSignalAndKillsAtTheTimeout(t *testing.T) {
	b := newBed(t)
	task := b.linux(t, "signals.c", TaskConfig{})
	b.startLinux(t, task)
	began := time.Now()
	must.NoError(t, b.StopTask(task.ID, 500*time.Millisecond, "SIGINT"))
	must.Between(t, 500*time.Millisecond, time.Since(began), patience)
	says(t, task, "signal=2")
	result := b.wait(t, task)
	must.Eq(t, 9, result.Signal)
	must.ErrorContains(t, result.Err, "did not stop in time")
}

func TestLinux_IsSeededAnewAtEachStart(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		b := newBed(t)
		task := b.linux(t, "signals.c", TaskConfig{})
		b.startLinux(t, task)
		_, random, _ := strings.Cut(console(task), "random=")
		random, _, _ = strings.Cut(random, "\n")
		must.NotEq(t, "", random)
		must.False(t, seen[random])
		seen[random] = true
		must.NoError(t, b.StopTask(task.ID, time.Minute, ""))
	}
}
