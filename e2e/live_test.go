// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// "nomad alloc fs" shows the files that the guest writes, and the guest reads the files that
// others replace.
func TestLive_TaskDirectoriesAreSharedInBothDirections(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	d := runDesk(t, nomad, deskJob(t, deskGuest(t, "desk")))
	d.do(t, "/write", "path", "/alloc/data/report", "text", "written by the guest")
	must.Eq(t, "written by the guest", d.readFile(t, "alloc/data/report"))
	d.do(t, "/write", "path", "/local/note", "text", "one\n")
	d.do(t, "/write", "path", "/local/note", "text", "two\n", "mode", "a")
	must.Eq(t, "one\ntwo\n", d.readFile(t, "desk/local/note"))
	d.do(t, "/replace", "path", "/local/note", "text", "three")
	must.Eq(t, "three", d.readFile(t, "desk/local/note"))

	dir := d.dir(t)
	must.NoError(t, os.WriteFile(filepath.Join(dir, "alloc/data/from-host"), []byte("first"), 0o644))
	must.Eq(t, "first", d.do(t, "/read", "path", "/alloc/data/from-host"))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "alloc/data/new"), []byte("second"), 0o644))
	must.NoError(t, os.Rename(filepath.Join(dir, "alloc/data/new"), filepath.Join(dir, "alloc/data/from-host")))
	must.Eq(t, "second", d.do(t, "/read", "path", "/alloc/data/from-host"))
	must.NoError(t, os.Remove(filepath.Join(dir, "alloc/data/from-host")))
	d.fails(t, "FileNotFoundError", "/read", "path", "/alloc/data/from-host")
	must.Eq(t, "report", d.do(t, "/list", "path", "/alloc/data"))
	must.Eq(t, 0, d.stop(t).ExitCode)
}

// dir returns the directory of the alloc on the host.
func (a *alloc) dir(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(a.node.Dir, "*", "*", a.ID))
	must.NoError(t, err)
	must.Len(t, 1, found)
	return found[0]
}

// A link that the guest makes to a file of the host leads to the guest's own file.
func TestLive_SymbolicLinksDoNotLeadOut(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	task := deskGuest(t, "desk")
	task.Templates = append(task.Templates, &api.Template{DestPath: ptr("secrets/key"), EmbeddedTmpl: ptr("a key")})
	d := runDesk(t, nomad, deskJob(t, task))
	d.do(t, "/link", "path", "/local/shadow", "target", "/etc/shadow")
	d.do(t, "/link", "path", "/local/up", "target", "../../../../../../../../etc/shadow")
	for _, path := range []string{"/local/shadow", "/local/up"} {
		d.fails(t, "FileNotFoundError", "/read", "path", path)
	}
	d.do(t, "/link", "path", "/alloc/data/secret", "target", "/secrets")
	must.Eq(t, "a key", d.do(t, "/read", "path", "/alloc/data/secret/key"))
}

func TestLive_TasksExchangeFilesThroughAlloc(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	testenv.Need(t, testenv.Tool("sh"))
	shell := func(name, hookName, script string) *api.Task {
		task := api.NewTask(name, "raw_exec").SetConfig("command", "sh").
			SetConfig("args", []string{"-c", script}).Require(&api.Resources{CPU: ptr(20), MemoryMB: ptr(16)})
		return hook(task, api.TaskLifecycle{Hook: hookName})
	}
	job := deskJob(t, deskGuest(t, "desk"))
	job.TaskGroups[0].
		AddTask(shell("before", api.TaskLifecycleHookPrestart, `echo "from prestart" >"$NOMAD_ALLOC_DIR/data/before"`)).
		AddTask(shell("after", api.TaskLifecycleHookPoststop, `cat "$NOMAD_ALLOC_DIR/data/by-guest"`))
	d := runDesk(t, nomad, job)
	must.Eq(t, "from prestart\n", d.do(t, "/read", "path", "/alloc/data/before"))
	d.do(t, "/write", "path", "/alloc/data/by-guest", "text", "from the guest\n")
	_, _, err := nomad.API.Jobs().Deregister(d.JobID, false, nil)
	must.NoError(t, err)
	d.await(t, api.AllocClientStatusComplete)
	d.of("after").awaitLog(t, "from the guest\n")
}

// The next version of the job has another alloc, which gets the data of the old one.
func TestLive_EphemeralDiskArrivesInTheNextVersion(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	for _, disk := range []*api.EphemeralDisk{
		{Sticky: ptr(true)},
		{Sticky: ptr(true), Migrate: ptr(true)},
	} {
		name := fmt.Sprintf("migrate-%t", disk.Migrate != nil)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := deskJob(t, deskGuest(t, "desk"))
			job.TaskGroups[0].EphemeralDisk = disk
			job.TaskGroups[0].EphemeralDisk.SizeMB = ptr(150) // more than the logs
			first := runDesk(t, nomad, job)
			first.do(t, "/write", "path", "/alloc/data/state", "text", "of version 1")
			first.do(t, "/write", "path", "/local/cache", "text", "of version 1")

			job.TaskGroups[0].Tasks[0].Env = map[string]string{"VERSION": "2"}
			second := desk{nextVersion(t, first.alloc, job)}
			second.awaitReady(t)
			must.Eq(t, "2", second.do(t, "/env", "name", "VERSION"))
			must.Eq(t, "of version 1", second.do(t, "/read", "path", "/alloc/data/state"))
			must.Eq(t, "of version 1", second.do(t, "/read", "path", "/local/cache"))
		})
	}
}

// The next version of the job runs on another client, which fetches the data from the first.
func TestLive_EphemeralDiskMigratesToAnotherClient(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	job := deskJob(t, deskGuest(t, "desk"))
	job.TaskGroups[0].EphemeralDisk = &api.EphemeralDisk{Sticky: ptr(true), Migrate: ptr(true), SizeMB: ptr(150)}
	first := runDesk(t, client(t, "migrate", 8), job)
	first.do(t, "/write", "path", "/alloc/data/state", "text", "of the first client")
	first.do(t, "/write", "path", "/local/cache", "text", "of the first client")

	job.NodePool = ptr(nomad.Pool)
	second := desk{nextVersion(t, first.alloc, job)}
	must.Eq(t, nomad.NodeID, second.NodeID)
	second.awaitReady(t)
	must.Eq(t, "of the first client", second.do(t, "/read", "path", "/alloc/data/state"))
	must.Eq(t, "of the first client", second.do(t, "/read", "path", "/local/cache"))
}

// nextVersion registers a changed job and returns the alloc that replaces the old one.
func nextVersion(t *testing.T, old *alloc, job *api.Job) *alloc {
	t.Helper()
	_, _, err := nomad.API.Jobs().Register(job, nil)
	must.NoError(t, err)
	return old.replacement(t)
}

// replacement waits until another alloc of the same job runs, and returns it.
func (a *alloc) replacement(t *testing.T) *alloc {
	t.Helper()
	next := &alloc{node: a.node, task: a.task}
	must.Wait(t, testenv.Eventually(func() error {
		stubs, _, err := nomad.API.Jobs().Allocations(a.JobID, true, nil)
		if err != nil {
			return err
		}
		for _, stub := range stubs {
			if stub.ID != a.ID {
				if stub.NodeID == nomad.NodeID {
					next.node = nomad
				}
				next.Allocation, _, err = nomad.API.Allocations().Info(stub.ID, nil)
				return err
			}
		}
		return fmt.Errorf("job %s has no new alloc", a.JobID)
	}))
	allocs.add(next.ID)
	t.Cleanup(func() { purge(t, a.JobID, next) })
	next.await(t, api.AllocClientStatusRunning)
	return next
}

// The identity's token is renewed after half of its time to live.
func TestLive_RenewedIdentityIsRead(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	task := deskGuest(t, "desk")
	task.Identities = []*api.WorkloadIdentity{{
		Name: "short", File: true, TTL: 10 * time.Second, Audience: []string{"e2e"}, ChangeMode: "noop",
	}}
	d := runDesk(t, nomad, deskJob(t, task))
	const file = "/secrets/nomad_short.jwt"
	first := d.do(t, "/read", "path", file)
	must.Eq(t, 2, strings.Count(first, "."))
	must.Wait(t, testenv.Eventually(func() error {
		next, err := d.ask(t, "http", "/read", "path", file)
		if err == nil && next == first {
			err = fmt.Errorf("%s has not been renewed", file)
		}
		return err
	}))
	must.Eq(t, 0, int(d.TaskStates["desk"].Restarts))
}
