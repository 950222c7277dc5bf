// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	_ "embed"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
)

// memberProgram is a server that makes requests to other servers when it is asked to. It
// runs in a guest and as a process.
//
//go:embed testdata/member.py
var memberProgram string

// memberGuest returns a task whose guest runs memberProgram. The arguments are the
// addresses on which it listens.
func memberGuest(t *testing.T, name string, listen ...string) *api.Task {
	t.Helper()
	must.NoError(t, pushExamples())
	return withMemberProgram(api.NewTask(name, cluster.Driver)).
		SetConfig("image", publicHost+"/examples/python3:3.11").
		SetConfig("args", append([]string{"/local/member.py"}, listen...)).
		Require(&api.Resources{CPU: ptr(50), MemoryMB: ptr(64)})
}

// memberProcess returns a task that runs memberProgram without a guest.
func memberProcess(t *testing.T, name string, listen ...string) *api.Task {
	t.Helper()
	testenv.Need(t, testenv.Tool("python3"))
	return withMemberProgram(api.NewTask(name, "raw_exec")).
		SetConfig("command", "python3").
		SetConfig("args", append([]string{"${NOMAD_TASK_DIR}/member.py"}, listen...)).
		Require(&api.Resources{CPU: ptr(50), MemoryMB: ptr(32)})
}

// httpdGuest returns a task whose guest is a web server without an operating system, on
// port 8080. It serves a port of the group, which may be a number.
func httpdGuest(port string) *api.Task {
	return api.NewTask("httpd", cluster.Driver).
		SetConfig("kernel", filepath.Join(tools.Guests, "httpd.spt")).
		SetConfig("args", []string{"ip={{ipv4}}", "gw={{ipv4_gateway}}", "port=8080"}).
		SetConfig("ports", []string{port}).
		Require(&api.Resources{CPU: ptr(50), MemoryMB: ptr(16)})
}

// oneRequest returns a task that makes one request, prints the answer and exits.
func oneRequest(task *api.Task, url string) *api.Task {
	task.Templates[0].EmbeddedTmpl = ptr(fmt.Sprintf(`
import sys, time, urllib.request

while True:  # the server may not listen yet
    try:
        print(%q, urllib.request.urlopen(%q, timeout=5).read().decode())
        sys.exit(0)
    except OSError:
        time.sleep(0.1)
`, "the answer:", url))
	return task
}

func withMemberProgram(task *api.Task) *api.Task {
	task.Templates = append(task.Templates, &api.Template{
		DestPath: ptr("local/member.py"), EmbeddedTmpl: &memberProgram,
	})
	return task
}

// members returns a job with one group in bridge mode. Nomad restarts no task of it.
func members(t *testing.T, tasks ...*api.Task) *api.Job {
	t.Helper()
	group := api.NewTaskGroup("members", 1)
	for _, task := range tasks {
		group.AddTask(task)
	}
	group.Networks = []*api.NetworkResource{{Mode: "bridge"}}
	group.RestartPolicy = &api.RestartPolicy{Attempts: ptr(0), Mode: ptr("fail")}
	group.ReschedulePolicy = &api.ReschedulePolicy{Attempts: ptr(0), Unlimited: ptr(false)}
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	return api.NewServiceJob(name, name, "global", 50).AddTaskGroup(group)
}

// withPort adds a dynamic port to the first group of a job. The port of the alloc is to.
func withPort(job *api.Job, label string, to int) *api.Job {
	network := job.TaskGroups[0].Networks[0]
	network.DynamicPorts = append(network.DynamicPorts, api.Port{Label: label, To: to})
	return job
}

// ask makes a request to the member behind a mapped port, from outside of the alloc.
func (a *alloc) ask(t *testing.T, label, path string, query ...string) (string, error) {
	t.Helper()
	return askAt(a.address(t, label), path, query...)
}

// askAt makes a request to the member at an address. The query is a list of names and
// values.
func askAt(address, path string, query ...string) (string, error) {
	values := url.Values{}
	for i := 0; i < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	answer, err := get("http://" + address + path + "?" + values.Encode())
	if err != nil {
		err = fmt.Errorf("%w: %s", err, answer)
	}
	return answer, err
}

// awaitMember waits until the member behind a mapped port answers with its name.
func (a *alloc) awaitMember(t *testing.T, label, name string) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		if err := a.refresh(); err != nil {
			return err
		}
		must.False(t, a.ClientTerminalStatus(), must.Sprintf("the alloc is %s", a.ClientStatus))
		answer, err := a.ask(t, label, "/")
		if err == nil && answer != name {
			err = fmt.Errorf("%q answers at port %s of %q", answer, label, name)
		}
		return err
	}))
}

// requireFetch requires that the member behind a mapped port gets an answer that contains
// the text from a port, by TCP and by UDP.
func (a *alloc) requireFetch(t *testing.T, label, address string, port int, text string) {
	t.Helper()
	target := net.JoinHostPort(address, strconv.Itoa(port))
	answer, err := a.ask(t, label, "/fetch", "url", "http://"+target+"/")
	must.NoError(t, err, must.Sprintf("%s to %s", label, target))
	must.StrContains(t, answer, text, must.Sprintf("%s to %s", label, target))
}

func (a *alloc) requireDatagram(t *testing.T, label, address string, port int, text string) {
	t.Helper()
	answer, err := a.ask(t, label, "/datagram", "host", address, "port", strconv.Itoa(port))
	must.NoError(t, err, must.Sprintf("%s to %s:%d", label, address, port))
	must.Eq(t, text, answer, must.Sprintf("%s to %s:%d", label, address, port))
}

// ip returns the address of the alloc's network.
func (a *alloc) ip(t *testing.T) string {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		if err := a.refresh(); err != nil {
			return err
		}
		if a.NetworkStatus == nil || a.NetworkStatus.Address == "" {
			return fmt.Errorf("alloc %s has no address", a.ID)
		}
		return nil
	}))
	return a.NetworkStatus.Address
}
