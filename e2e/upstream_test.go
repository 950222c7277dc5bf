// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// upstreamJob returns a job with a group of guests that are instances of a service.
func upstreamJob(t *testing.T, service string, count int) *api.Job {
	t.Helper()
	job := deskJob(t, deskGuest(t, "web"))
	job.ID, job.Name = ptr(service), ptr(service)
	job.Update = &api.UpdateStrategy{MaxParallel: ptr(0)} // a deployment would block scaling
	group := job.TaskGroups[0]
	group.Name, group.Count = ptr("web"), ptr(count)
	group.Services = []*api.Service{{Name: service, PortLabel: "http", Provider: "nomad"}}
	return job
}

// startUpstreams registers a job of upstreamJob. It is purged at the end of the test.
func startUpstreams(t *testing.T, job *api.Job) {
	t.Helper()
	_, _, err := nomad.API.Jobs().Register(job, nil)
	must.NoError(t, err)
	t.Cleanup(func() {
		running := webAllocs(t, *job.ID)
		purge(t, *job.ID, running...)
	})
}

// webAllocs returns the allocs of a job.
func webAllocs(t *testing.T, id string) (all []*alloc) {
	t.Helper()
	stubs, _, err := nomad.API.Jobs().Allocations(id, true, nil)
	must.NoError(t, err)
	for _, stub := range stubs {
		info, _, err := nomad.API.Allocations().Info(stub.ID, nil)
		must.NoError(t, err)
		allocs.add(stub.ID)
		all = append(all, &alloc{Allocation: info, node: nomad, task: "web"})
	}
	return all
}

// scale changes the number of instances, as "nomad job scale" does.
func scale(t *testing.T, id string, count int) {
	t.Helper()
	_, _, err := nomad.API.Jobs().Scale(id, "web", &count, "test", false, nil, nil)
	must.NoError(t, err)
}

// upstreamTemplate renders the addresses of a service's instances.
func upstreamTemplate(service, mode string) *api.Template {
	template := &api.Template{
		DestPath:     ptr("local/upstreams"),
		EmbeddedTmpl: ptr(fmt.Sprintf("{{ range nomadService %q }}{{ .Address }}:{{ .Port }}\n{{ end }}", service)),
		ChangeMode:   ptr(mode),
	}
	if mode == "signal" {
		template.ChangeSignal = ptr("SIGHUP")
	}
	return template
}

// awaitUpstreams waits until the load balancer in a guest forwards to a number of instances.
func (d desk) awaitUpstreams(t *testing.T, count int) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		list, err := d.ask(t, "http", "/upstreams")
		if err != nil {
			return err
		}
		if n := len(strings.Fields(list)); n != count {
			return fmt.Errorf("%d upstreams, not %d: %q", n, count, list)
		}
		answers := map[string]bool{}
		for i := range count {
			answer, err := d.ask(t, "http", "/balance", "number", fmt.Sprint(i))
			if err != nil {
				return err
			}
			answers[answer] = true
		}
		if len(answers) != count {
			return fmt.Errorf("%d instances answer, not %d", len(answers), count)
		}
		return nil
	}))
}

// The pattern of a load balancer: Nomad renders the upstreams again when the group is scaled,
// and signals the guest, which reads the new file without a restart.
func TestTemplate_SignaledGuestFollowsAScaledService(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	const service = "signaled-upstream"
	startUpstreams(t, upstreamJob(t, service, 1))
	task := deskGuest(t, "balancer", "/local/upstreams")
	task.Templates = append(task.Templates, upstreamTemplate(service, "signal"))
	d := runDesk(t, nomad, deskJob(t, task))
	for _, count := range []int{1, 3, 2} {
		scale(t, service, count)
		d.awaitUpstreams(t, count)
	}
	must.NoError(t, d.refresh())
	must.Eq(t, 0, int(d.TaskStates["balancer"].Restarts))
}

// nginxConf is the configuration of a load balancer. nginx resolves no names here.
const nginxConf = `
daemon off;
master_process off;
error_log stderr notice;
events {}
http {
  access_log off;
  upstream backend {
{{ range nomadService %q }}    server {{ .Address }}:{{ .Port }};
{{ else }}    server 127.0.0.1:65535; # force a 502
{{ end }}  }
  server {
    listen 8000;
    location / {
      proxy_pass http://backend;
    }
  }
}
`

// nginx in a guest cannot reload its configuration yet, so Nomad restarts it.
func TestTemplate_RestartedNginxFollowsAScaledService(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	const service = "restarted-upstream"
	startUpstreams(t, upstreamJob(t, service, 1))
	job := lkl(t, "nginx.nomad.hcl", "nginx-balancer")
	group := job.TaskGroups[0]
	group.Services = nil
	group.Networks[0].DynamicPorts = []api.Port{{Label: "http", To: 8000}}
	task := group.Tasks[0]
	task.SetConfig("args", []string{"-c", "/local/nginx.conf"})
	task.Templates = []*api.Template{{
		DestPath: ptr("local/nginx.conf"), EmbeddedTmpl: ptr(fmt.Sprintf(nginxConf, service)), ChangeMode: ptr("restart"),
	}}
	a := run(t, nomad, job)
	for _, count := range []int{1, 3} {
		scale(t, service, count)
		a.awaitInstances(t, count)
	}
}

// awaitInstances waits until as many instances answer through the load balancer.
func (a *alloc) awaitInstances(t *testing.T, count int) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		answers := map[string]bool{}
		for range 4 * count {
			answer, err := a.ask(t, "http", "/env", "name", "NOMAD_ALLOC_ID")
			if err != nil {
				return err
			}
			answers[answer] = true
		}
		if len(answers) != count {
			return fmt.Errorf("%d instances answer, not %d", len(answers), count)
		}
		return nil
	}))
}
