// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// lkl returns the job of an example with another ID.
func lkl(t *testing.T, file, id string) *api.Job {
	t.Helper()
	job := parse(t, file, images(t))
	job.ID = ptr(id)
	return job
}

func TestLKL_HelloPrintsArgumentsAndEnvironment(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	a := start(t, nomad, lkl(t, "lkl-hello.nomad.hcl", "lkl-hello-prints"))
	a.await(t, api.AllocClientStatusComplete)
	must.Eq(t, 0, a.awaitEvent(t, api.TaskTerminated).ExitCode)
	short := a.ID[:8]
	for _, line := range []string{
		"Hello from Linux 6.1.",
		" on hello-" + short + "\n",
		"argument: one\nargument: two words\nargument: alloc=" + short + "\n",
		"environment: GREETING=good morning\n",
		"environment: NOMAD_ALLOC_ID=" + a.ID + "\n",
		"environment: NOMAD_TASK_DIR=/local\n",
	} {
		a.awaitLog(t, line)
	}
}

// A template with env = true may have a megabyte.
func TestLKL_EnvironmentOfAMegabyteArrives(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	job := lkl(t, "lkl-hello.nomad.hcl", "lkl-hello-environment")
	task := job.TaskGroups[0].Tasks[0]
	task.Resources.MemoryMB = ptr(64)
	task.Templates = []*api.Template{{
		EmbeddedTmpl: ptr(`{{ range $i := loop 256 }}LARGE_{{ $i }}={{ printf "%04096d" $i }}` + "\n{{ end }}"),
		DestPath:     ptr("local/env"), Envvars: ptr(true),
	}}
	a := start(t, nomad, job)
	a.await(t, api.AllocClientStatusComplete)
	for _, i := range []int{0, 99, 255} {
		a.awaitLog(t, fmt.Sprintf("environment: LARGE_%d=%04096d\n", i, i))
	}
}

// The program has no handler for the signal, which therefore ends it.
func TestLKL_SignalReachesTheProgram(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	job := lkl(t, "lkl-hello.nomad.hcl", "lkl-hello-signal")
	job.TaskGroups[0].Tasks[0].RestartPolicy = &api.RestartPolicy{Attempts: ptr(0), Mode: ptr("fail")}
	set(job, "args", []string{"wait"})
	a := run(t, nomad, job)
	a.awaitLog(t, "argument: wait\n")
	must.NoError(t, nomad.API.Allocations().Signal(a.Allocation, nil, a.task, "SIGUSR1"))
	a.await(t, api.AllocClientStatusFailed)
	must.Eq(t, 128+10, a.awaitEvent(t, api.TaskTerminated).ExitCode)
}

func TestLKL_NginxServesItsRoot(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	a := run(t, nomad, lkl(t, "nginx.nomad.hcl", "nginx-serves"))
	page, err := os.ReadFile(filepath.Join(tools.Guests, "lkl-nginx.root", "www", "index.html"))
	must.NoError(t, err)
	must.Eq(t, string(page), a.awaitAnswer(t))
	_, err = get(a.url(t) + "missing")
	must.ErrorContains(t, err, "404")
	a.awaitErrorLog(t, "OS: Linux 6.1.")
	a.awaitChecks(t)
}

func TestLKL_NginxHandlesSignals(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	a := run(t, nomad, lkl(t, "nginx.nomad.hcl", "nginx-signals"))
	a.awaitAnswer(t)
	must.NoError(t, nomad.API.Allocations().Signal(a.Allocation, nil, a.task, "SIGUSR1"))
	a.awaitErrorLog(t, "reopening logs")
	a.awaitAnswer(t)
	end := a.stop(t)
	must.Eq(t, 0, end.ExitCode, must.Sprint(end.DisplayMessage))
	must.Eq(t, 0, end.Signal, must.Sprint(end.DisplayMessage))
	a.awaitErrorLog(t, "(SIGQUIT) received from 1, shutting down") // the image's STOPSIGNAL
	a.awaitErrorLog(t, "exit\n")
}

func TestLKL_RedisKeepsAnAppendOnlyFile(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	job := lkl(t, "redis.nomad.hcl", "redis-graceful")
	set(job, "args", []string{"/etc/redis.conf", "--enable-debug-command", "yes"})
	a := run(t, nomad, job)
	r := a.redis(t)
	for i := range 100 {
		must.Eq(t, "OK", r.do(t, "SET", fmt.Sprint("key", i), fmt.Sprint("value ", i)))
	}
	must.Eq(t, "value 42", r.do(t, "GET", "key42"))
	must.Eq(t, "", r.do(t, "GET", "no such key"))
	must.StrContains(t, r.do(t, "INFO", "server"), "os:Linux 6.1.")
	// The server drops its data and reads the file again.
	must.Eq(t, "OK", r.do(t, "DEBUG", "LOADAOF"))
	must.Eq(t, "100", r.do(t, "EVAL", "return #redis.call('KEYS', 'key*')", "0")) // the check has another key
	must.Eq(t, "value 99", r.do(t, "GET", "key99"))
	a.awaitChecks(t)

	end := a.stop(t)
	must.Eq(t, 0, end.ExitCode, must.Sprint(end.DisplayMessage))
	must.Eq(t, 0, end.Signal, must.Sprint(end.DisplayMessage))
	a.awaitLog(t, "Received SIGTERM scheduling shutdown")
	a.awaitLog(t, "Redis is now ready to exit, bye bye...")
}

// awaitChecks waits until all checks of the alloc's services succeed.
func (a *alloc) awaitChecks(t *testing.T) {
	t.Helper()
	a.awaitCheckStatus(t, "success")
}

// awaitFailedCheck waits until all checks of the alloc's services fail.
func (a *alloc) awaitFailedCheck(t *testing.T) {
	t.Helper()
	a.awaitCheckStatus(t, "failure")
}

func (a *alloc) awaitCheckStatus(t *testing.T, status string) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		checks, err := nomad.API.Allocations().Checks(a.ID, nil)
		if err != nil {
			return err
		}
		if len(checks) == 0 {
			return errors.New("no check has run")
		}
		for _, check := range checks {
			if check.Status != status {
				return fmt.Errorf("check %s is %s: %s", check.Check, check.Status, strings.TrimSpace(check.Output))
			}
		}
		return nil
	}))
}
