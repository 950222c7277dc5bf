// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	_ "embed"
	"io"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
)

// deskProgram is a server that reads and writes files when it is asked to.
//
//go:embed testdata/desk.py
var deskProgram string

// deskGuest returns a task whose guest runs deskProgram on port 8000.
func deskGuest(t *testing.T, name string, arguments ...string) *api.Task {
	t.Helper()
	must.NoError(t, pushExamples())
	task := api.NewTask(name, cluster.Driver).
		SetConfig("image", publicHost+"/examples/python3:3.11").
		SetConfig("args", append([]string{"/local/desk.py", "8000"}, arguments...)).
		Require(&api.Resources{CPU: ptr(50), MemoryMB: ptr(80)})
	task.Templates = []*api.Template{{DestPath: ptr("local/desk.py"), EmbeddedTmpl: &deskProgram}}
	return task
}

// deskJob returns a job whose guest runs deskProgram, behind the port http.
func deskJob(t *testing.T, task *api.Task) *api.Job {
	t.Helper()
	return withPort(members(t, task), "http", 8000)
}

// desk is a running deskProgram.
type desk struct{ *alloc }

// runDesk starts a job of deskJob and waits until the guest answers.
func runDesk(t *testing.T, on *cluster.Nomad, job *api.Job) desk {
	t.Helper()
	d := desk{run(t, on, job)}
	d.awaitReady(t)
	return d
}

func (d desk) awaitReady(t *testing.T) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		if err := d.refresh(); err != nil {
			return err
		}
		must.False(t, d.ClientTerminalStatus(), must.Sprintf("the alloc is %s", d.ClientStatus))
		_, err := d.ask(t, "http", "/list", "path", "/local")
		return err
	}))
}

// do makes a request that must succeed, and returns the answer.
func (d desk) do(t *testing.T, path string, query ...string) string {
	t.Helper()
	answer, err := d.ask(t, "http", path, query...)
	must.NoError(t, err)
	return answer
}

// fails makes a request that must fail with the name of an error, such as EROFS.
func (d desk) fails(t *testing.T, text, path string, query ...string) {
	t.Helper()
	_, err := d.ask(t, "http", path, query...)
	must.ErrorContains(t, err, text)
}

// readFile returns the content of a file of the alloc, as "nomad alloc fs" prints it.
func (a *alloc) readFile(t *testing.T, path string) string {
	t.Helper()
	r, err := nomad.API.AllocFS().Cat(a.Allocation, path, nil)
	must.NoError(t, err)
	defer r.Close()
	content, err := io.ReadAll(r)
	must.NoError(t, err)
	return string(content)
}
