// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

func TestGuest_ExitStatusAndSignalReachNomad(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	cases := []struct {
		name         string
		args         []string
		status       string
		code, signal int
	}{
		{name: "success", args: []string{"exit", "0"}, status: api.AllocClientStatusComplete},
		{name: "exit code", args: []string{"exit", "7"}, status: api.AllocClientStatusFailed, code: 7},
		{name: "fault", args: []string{"fault"}, status: api.AllocClientStatusFailed, code: 128 + 11, signal: 11},
		{name: "forbidden call", args: []string{"syscall"}, status: api.AllocClientStatusFailed, code: 128 + 31, signal: 31},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			job := batchJob(t, "crash", tc.args...)
			job.ID = ptr("end-" + strings.ReplaceAll(tc.name, " ", "-"))
			a := start(t, nomad, job)
			event := a.awaitEvent(t, api.TaskTerminated)
			must.Eq(t, tc.code, event.ExitCode, must.Sprint(event.DisplayMessage))
			must.Eq(t, tc.signal, event.Signal, must.Sprint(event.DisplayMessage))
			a.await(t, tc.status)
		})
	}
}

func TestRestartPolicy_RestartsAFailedGuest(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	job := guestJob(t, "crash", "exit", "3")
	job.TaskGroups[0].RestartPolicy = &api.RestartPolicy{
		Attempts: ptr(2), Delay: ptr(100 * time.Millisecond), Interval: ptr(time.Hour), Mode: ptr("fail"),
	}
	a := start(t, nomad, job)
	a.await(t, api.AllocClientStatusFailed)
	must.Eq(t, 2, int(a.TaskStates[a.task].Restarts))
	a.awaitOutput(t, func(output string) bool { return strings.Count(output, "crash: exit\n") == 3 })
}

func TestConfigMistakes_ErrorNamesTheFields(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	cases := []struct {
		name   string
		change func(*api.Job)
		fields []string
	}{
		{"several at once", func(job *api.Job) {
			set(job, "flavor", "windows")
			set(job, "tender", "qemu")
			set(job, "rootfs_size", "huge")
		}, []string{"flavor", "tender", "rootfs_size"}},
		{"unknown field", func(job *api.Job) { set(job, "kernal", "x") }, []string{"kernal"}},
		{"no kernel", func(job *api.Job) { delete(job.TaskGroups[0].Tasks[0].Config, "kernel") }, []string{"kernel", "image"}},
		{"two sources", func(job *api.Job) {
			set(job, "image", "registry.example.com/web:1")
			set(job, "rootfs", "local/root")
		}, []string{"rootfs", "image"}},
		{"auth without an image", func(job *api.Job) {
			set(job, "auth", map[string]any{"username": user, "password": password})
		}, []string{"auth", "image"}},
		{"not a reference", func(job *api.Job) { set(job, "image", "Web:") }, []string{"image", "Web:"}},
		{"missing file", func(job *api.Job) { set(job, "kernel", "local/missing.spt") }, []string{"kernel"}},
		{"path not allowed", func(job *api.Job) { set(job, "kernel", "/etc/passwd") }, []string{"kernel", "image_paths"}},
		{"exec heap not allowed", func(job *api.Job) { set(job, "exec_heap", true) }, []string{"exec_heap"}},
		{"unknown port", func(job *api.Job) { set(bridge(job), "ports", []string{"https"}) }, []string{"ports", "https"}},
		{"user", func(job *api.Job) { job.TaskGroups[0].Tasks[0].User = "nobody" }, []string{"user"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			job := batchJob(t, "hello")
			job.ID = ptr("mistake-" + strings.ReplaceAll(tc.name, " ", "-"))
			tc.change(job)
			a := start(t, nomad, job)
			a.await(t, api.AllocClientStatusFailed)
			a.requireMessage(t, tc.fields...)
		})
	}
}

// requireMessage checks that the messages of the task's events contain all words.
func (a *alloc) requireMessage(t *testing.T, words ...string) {
	t.Helper()
	var messages []string
	for _, event := range a.events() {
		messages = append(messages, event.DisplayMessage)
	}
	all := strings.Join(messages, "\n")
	for _, word := range words {
		must.StrContains(t, all, word)
	}
}

func set(job *api.Job, field string, value any) { job.TaskGroups[0].Tasks[0].SetConfig(field, value) }

func TestExec_ErrorContainsTheReason(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	a := run(t, nomad, guestJob(t, "idle"))
	cmd := exec.Command(tools.Nomad, "alloc", "exec", "-i=false", "-t=false", a.ID, "/bin/sh")
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+nomad.Address)
	out, err := cmd.CombinedOutput()
	must.Error(t, err)
	must.StrContains(t, string(out), "cannot run a command in a unikernel")
}
