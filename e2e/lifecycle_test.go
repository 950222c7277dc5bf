// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// hook returns the task with a lifecycle.
func hook(task *api.Task, lifecycle api.TaskLifecycle) *api.Task {
	task.Lifecycle = &lifecycle
	return task
}

// Tasks run before, with and after the main tasks of a group. A guest and a process of
// each kind reach a server outside of the group or a neighbor.
func TestLifecycle_EveryTaskHasTheNetwork(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	outside := withPort(members(t, memberProcess(t, "outside", "0.0.0.0:9009")), "outside", 9009)
	server := run(t, nomad, renamed(outside, "-server"))
	server.awaitMember(t, "outside", "outside")
	url := "http://" + server.address(t, "outside") + "/"

	prestart := api.TaskLifecycle{Hook: api.TaskLifecycleHookPrestart}
	poststart := api.TaskLifecycle{Hook: api.TaskLifecycleHookPoststart}
	sidecar := api.TaskLifecycle{Hook: api.TaskLifecycleHookPoststart, Sidecar: true}
	poststop := api.TaskLifecycle{Hook: api.TaskLifecycleHookPoststop}
	job := members(t,
		memberGuest(t, "main", "0.0.0.0:9001", "127.0.0.1:9011").SetConfig("ports", []string{"main", "9011"}),
		hook(oneRequest(memberGuest(t, "prestart-guest"), url), prestart),
		hook(oneRequest(memberProcess(t, "prestart-process"), url), prestart),
		hook(memberGuest(t, "sidecar-guest", "0.0.0.0:9002").SetConfig("ports", []string{"sidecar-guest"}), sidecar),
		hook(memberProcess(t, "sidecar-process", "0.0.0.0:9003"), sidecar),
		hook(oneRequest(memberProcess(t, "poststart-process"), "http://127.0.0.1:9011/"), poststart),
		hook(oneRequest(memberGuest(t, "poststop-guest"), url), poststop),
		hook(oneRequest(memberProcess(t, "poststop-process"), url), poststop))
	job = withPort(withPort(withPort(job, "main", 9001), "sidecar-guest", 9002), "sidecar-process", 9003)
	a := run(t, nomad, job)
	ports := map[string]int{"main": 9001, "sidecar-guest": 9002, "sidecar-process": 9003}
	for name := range ports {
		a.awaitMember(t, name, name)
	}
	for from := range ports {
		for to, port := range ports {
			a.requireFetch(t, from, "127.0.0.1", port, to)
		}
	}
	a.of("prestart-guest").awaitLog(t, "the answer: outside\n")
	a.of("prestart-process").awaitLog(t, "the answer: outside\n")
	a.of("poststart-process").awaitLog(t, "the answer: main\n")
	_, _, err := nomad.API.Jobs().Deregister(a.JobID, false, nil)
	must.NoError(t, err)
	a.await(t, api.AllocClientStatusComplete)
	a.of("poststop-guest").awaitLog(t, "the answer: outside\n")
	a.of("poststop-process").awaitLog(t, "the answer: outside\n")
}
