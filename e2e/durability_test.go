// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
)

// durable returns the job with ports of the host, because a killed agent loses the
// network namespace of a young alloc, and with immediate restarts.
func durable(job *api.Job) *api.Job {
	group := job.TaskGroups[0]
	group.RestartPolicy = &api.RestartPolicy{
		Attempts: ptr(10), Delay: ptr(time.Second), Interval: ptr(time.Hour), Mode: ptr("fail"),
	}
	group.Networks[0].Mode = "host"
	group.Services = nil
	return job
}

// killProcess kills the processes of the alloc with that name.
func (a *alloc) killProcess(t *testing.T, name string) {
	t.Helper()
	killed := 0
	for _, pid := range a.pids(t) {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil && strings.TrimSpace(string(comm)) == name {
			must.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
			killed++
		}
	}
	must.Positive(t, killed, must.Sprint("no process is named ", name))
}

// replacePlugin installs another build of the plugin.
func replacePlugin(t *testing.T, n *cluster.Nomad) {
	t.Helper()
	plugin := filepath.Join(n.Dir, "plugins", filepath.Base(tools.Plugin))
	must.NoError(t, os.Remove(plugin))
	build := exec.Command("go", "build", "-o", plugin, "./cmd/nomad-driver-lkl")
	build.Dir = tree()
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	must.NoError(t, err, must.Sprintf("%s", out))
}

// requireDurable ends the task and its environment in every way. It calls check while
// the task runs again.
func requireDurable(t *testing.T, n *cluster.Nomad, a *alloc, check func(t *testing.T)) {
	t.Helper()
	must.NoError(t, nomad.API.Allocations().Restart(a.Allocation, a.task, nil))
	a.awaitRestarts(t, 1)
	check(t)
	a.killProcess(t, "spt-guest")
	a.awaitRestarts(t, 2)
	check(t)
	a.killProcess(t, "lkl-executor")
	a.awaitRestarts(t, 3)
	check(t)
	n.Kill()
	must.NoError(t, n.Start(t.Context()))
	check(t)
	must.NoError(t, n.Stop())
	replacePlugin(t, n)
	must.NoError(t, n.Start(t.Context()))
	check(t)
	must.NoError(t, nomad.API.Allocations().Restart(a.Allocation, a.task, nil))
	a.awaitRestarts(t, 4)
	check(t)
	a.stop(t)
}

func TestDisk_RedisKeepsItsData(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	n := client(t, "durable-redis", 11)
	job := durable(lkl(t, "redis.nomad.hcl", "durable-redis"))
	set(job, "args", []string{"/etc/redis.conf", "--appendfsync", "always", "--enable-debug-command", "yes"})
	a := run(t, n, job)
	r := a.redis(t)
	const script = "for i = 1, 100000 do redis.call('SET', 'key' .. i, 'value ' .. i) end"
	r.do(t, "EVAL", script, "0")
	digest := r.do(t, "DEBUG", "DIGEST")
	requireDurable(t, n, a, func(t *testing.T) {
		t.Helper()
		r := a.redis(t)
		must.Eq(t, "100000", r.do(t, "DBSIZE"))
		must.Eq(t, digest, r.do(t, "DEBUG", "DIGEST"))
	})
}
