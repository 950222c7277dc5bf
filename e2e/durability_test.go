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
	job := durable(withoutHealth(lkl(t, "redis.nomad.hcl", "durable-redis")))
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

// sqliteService inserts the rows 1 to 100,000 at its first start, in WAL mode. It
// answers with the result of an integrity check, and the number and the sum of the rows.
const sqliteService = `
import sqlite3
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def connect():
    data = sqlite3.connect("/data/test.db")
    data.execute("PRAGMA synchronous = FULL")
    return data

data = connect()
print(data.execute("PRAGMA journal_mode = WAL").fetchone()[0])
data.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
if not data.execute("SELECT count(*) FROM t").fetchone()[0]:
    for first in range(1, 100001, 1000):
        with data:
            data.executemany("INSERT INTO t VALUES (?)", ((n,) for n in range(first, first + 1000)))

class Service(BaseHTTPRequestHandler):
    def do_GET(self):
        other = connect()
        row = other.execute("PRAGMA integrity_check").fetchone() + other.execute("SELECT count(*), sum(n) FROM t").fetchone()
        mode = other.execute("PRAGMA journal_mode").fetchone()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(row + mode).encode())

ThreadingHTTPServer(("", 8000), Service).serve_forever()
`

func TestDisk_SQLiteKeepsItsData(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	n := client(t, "durable-sqlite", 9)
	job := durable(lkl(t, "python3.nomad.hcl", "durable-sqlite"))
	group := job.TaskGroups[0]
	group.Volumes = map[string]*api.VolumeRequest{"data": {Name: "data", Type: "host", Source: cluster.Volume}}
	task := group.Tasks[0]
	task.VolumeMounts = []*api.VolumeMount{{Volume: ptr("data"), Destination: ptr("/volume")}}
	task.Templates[0].EmbeddedTmpl = ptr(sqliteService)
	set(job, "disk", []map[string]any{{"data": []map[string]any{
		{"source": "/volume/sqlite.img", "size": "64MiB", "mount": "/data"},
	}}})
	a := run(t, n, job)
	check := func(t *testing.T) {
		t.Helper()
		must.Eq(t, "('ok', 100000, 5000050000, 'wal')", a.awaitAnswer(t))
	}
	check(t)
	requireDurable(t, n, a, check)
}
