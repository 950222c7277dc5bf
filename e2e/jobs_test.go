// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
)

// needRootAndTun skips or fails a test on a machine that cannot run a sandbox.
func needRootAndTun(t *testing.T) {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tun)
}

// batchJob returns a guestJob whose guest exits.
func batchJob(t *testing.T, guest string, args ...string) *api.Job {
	job := guestJob(t, guest, args...)
	job.Type = ptr(api.JobTypeBatch)
	return job
}

// guestJob returns a job with one task that runs a unikernel of guest/. It has no
// network, and Nomad does not restart it.
func guestJob(t *testing.T, guest string, args ...string) *api.Job {
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	task := api.NewTask("guest", cluster.Driver).
		SetConfig("kernel", filepath.Join(tools.Guests, guest+".spt")).
		SetConfig("args", args).
		Require(&api.Resources{CPU: ptr(50), MemoryMB: ptr(16)})
	task.KillTimeout = ptr(30 * time.Second) // the most that an agent allows
	group := api.NewTaskGroup("guest", 1).AddTask(task)
	group.RestartPolicy = &api.RestartPolicy{Attempts: ptr(0), Mode: ptr("fail")}
	group.ReschedulePolicy = &api.ReschedulePolicy{Attempts: ptr(0), Unlimited: ptr(false)}
	job := api.NewServiceJob(name, name, "global", 50).AddTaskGroup(group)
	return job
}

// bridge adds a bridge network to a job. Its port http is mapped to port 8080 of the
// guest.
func bridge(job *api.Job) *api.Job {
	job.TaskGroups[0].Networks = []*api.NetworkResource{{
		Mode: "bridge", DynamicPorts: []api.Port{{Label: "http", To: 8080}},
	}}
	return job
}

// parse reads a job file of examples/jobs. The variables have the form of a
// variables file.
func parse(t *testing.T, file, variables string) *api.Job {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(tools.Jobs, file))
	must.NoError(t, err)
	job, err := nomad.API.Jobs().ParseHCLOpts(&api.JobsParseRequest{
		JobHCL: string(content), Variables: variables, Canonicalize: true,
	})
	must.NoError(t, err)
	return job
}

// start registers a job on the node of an agent, and returns the alloc of its first
// group. The job is purged at the end of the test.
func start(t *testing.T, on *cluster.Nomad, job *api.Job) *alloc {
	t.Helper()
	return startGroups(t, on, job)[*job.TaskGroups[0].Name]
}

// startGroups is start for jobs with several groups. It returns their allocs by the
// names of the groups.
func startGroups(t *testing.T, on *cluster.Nomad, job *api.Job) map[string]*alloc {
	t.Helper()
	job.NodePool = ptr(on.Pool)
	_, _, err := nomad.API.Jobs().Register(job, nil)
	must.NoError(t, err)
	groups := make(map[string]*alloc)
	for _, group := range job.TaskGroups {
		groups[*group.Name] = &alloc{node: on, task: group.Tasks[0].Name}
	}
	t.Cleanup(func() { purge(t, *job.ID, slices.Collect(maps.Values(groups))...) })
	must.Wait(t, testenv.Eventually(func() error {
		stubs, _, err := nomad.API.Jobs().Allocations(*job.ID, true, nil)
		if err != nil {
			return err
		}
		if len(stubs) < len(groups) {
			return fmt.Errorf("job %s has %d allocs, not %d", *job.ID, len(stubs), len(groups))
		}
		for _, stub := range stubs {
			a := groups[stub.TaskGroup]
			if a.Allocation, _, err = nomad.API.Allocations().Info(stub.ID, nil); err != nil {
				return err
			}
		}
		return nil
	}))
	for _, a := range groups {
		allocs.add(a.ID)
	}
	return groups
}

// run starts a job and waits until the task runs.
func run(t *testing.T, on *cluster.Nomad, job *api.Job) *alloc {
	t.Helper()
	a := start(t, on, job)
	a.await(t, api.AllocClientStatusRunning)
	return a
}

// purge stops a job and waits until the client has removed its allocs.
func purge(t *testing.T, id string, groups ...*alloc) {
	groups = slices.DeleteFunc(groups, func(a *alloc) bool { return a.Allocation == nil })
	if t.Failed() {
		for _, a := range groups {
			a.explain(t)
		}
	}
	_, _, err := nomad.API.Jobs().Deregister(id, true, nil)
	must.NoError(t, err)
	for _, a := range groups {
		must.Wait(t, testenv.Eventually(a.removed))
	}
}

// allocs contains the IDs of the allocs of all tests.
var allocs ids

type ids struct {
	lock sync.Mutex
	ids  []string
}

func (i *ids) add(id string) {
	i.lock.Lock()
	defer i.lock.Unlock()
	i.ids = append(i.ids, id)
}

func (i *ids) list() []string {
	i.lock.Lock()
	defer i.lock.Unlock()
	return slices.Clone(i.ids)
}

func ptr[T any](v T) *T { return &v }
