// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// kernels sets the variable that every example has: where the unikernels are.
func kernels() string { return fmt.Sprintf("kernels = %q\n", tools.Guests) }

// An example says how a file of examples/jobs shows that it works.
type example struct {
	variables func(*testing.T) string
	works     func(*testing.T, *alloc)
}

var examples = map[string]example{
	"httpd.nomad.hcl":        {allKernels, func(t *testing.T, a *alloc) { a.awaitAnswer(t) }},
	"consul.nomad.hcl":       {allKernels, func(t *testing.T, a *alloc) { a.awaitAnswer(t) }},
	"hello.nomad.hcl":        {allKernels, endsWell("command line: from alloc=")},
	"disk.nomad.hcl":         {allKernels, endsWell("disk: ")},
	"artifact.nomad.hcl":     {serveHello, endsWell("command line: downloaded\n")},
	"stop.nomad.hcl":         {allKernels, stopsByItself},
	"lkl-hello.nomad.hcl":    {allKernels, endsWell("Hello from Linux 6.1.")},
	"nginx.nomad.hcl":        {allKernels, func(t *testing.T, a *alloc) { a.awaitAnswer(t) }},
	"nginx-config.nomad.hcl": {allKernels, servesItsOwnPage},
	"redis.nomad.hcl":        {allKernels, func(t *testing.T, a *alloc) { a.redis(t) }},
	"python3.nomad.hcl":      {allKernels, servesFromItsProgram},
}

func TestExamples_Work(t *testing.T) {
	needs(t)
	t.Parallel()
	entries, err := os.ReadDir(tools.Jobs)
	must.NoError(t, err)
	for _, entry := range entries {
		t.Run(entry.Name(), func(t *testing.T) {
			t.Parallel()
			example, ok := examples[entry.Name()]
			must.True(t, ok, must.Sprint("this example has no entry in examples_test.go"))
			job := parse(t, entry.Name(), example.variables(t))
			job.ID = ptr("example-" + strings.TrimSuffix(entry.Name(), ".nomad.hcl"))
			example.works(t, start(t, nomad, job))
		})
	}
	must.Eq(t, len(entries), len(examples), must.Sprint("an entry of examples_test.go has no file"))
}

func allKernels(*testing.T) string { return kernels() }

// serveHello serves hello.spt over HTTP, as a place of artifacts does.
func serveHello(t *testing.T) string {
	t.Helper()
	path := filepath.Join(tools.Guests, "hello.spt")
	content, err := os.ReadFile(path)
	must.NoError(t, err)
	server := httptest.NewServer(http.FileServer(http.Dir(tools.Guests)))
	t.Cleanup(server.Close)
	return fmt.Sprintf("source = %q\nchecksum = \"sha256:%x\"\n", server.URL+"/hello.spt", sha256.Sum256(content))
}

func endsWell(output string) func(*testing.T, *alloc) {
	return func(t *testing.T, a *alloc) {
		t.Helper()
		a.await(t, api.AllocClientStatusComplete)
		a.awaitLog(t, output)
	}
}

// servesItsOwnPage wants the page that the job's template writes, and the
// request in the log, where the job's configuration of nginx sends it.
func servesItsOwnPage(t *testing.T, a *alloc) {
	t.Helper()
	must.Eq(t, "alloc "+a.ID[:8]+" of nginx-config\n", a.awaitAnswer(t))
	a.awaitLog(t, "GET / HTTP/1.1")
}

// servesFromItsProgram wants the answer of the job's program, which ends by
// itself when it is stopped.
func servesFromItsProgram(t *testing.T, a *alloc) {
	t.Helper()
	answer := a.awaitAnswer(t)
	must.StrHasPrefix(t, fmt.Sprintf(`{"alloc": %q, "kernel": "6.1.`, a.ID[:8]), answer)
	must.StrContains(t, answer, `"path": "/", "python": "3.11.`)
	must.Eq(t, 0, a.stop(t).ExitCode)
}

// stopsByItself stops a job whose guest ends when it is told the signal, long
// before the kill timeout.
func stopsByItself(t *testing.T, a *alloc) {
	t.Helper()
	a.awaitLog(t, "control: waiting\n")
	_, _, err := nomad.API.Jobs().Deregister(a.JobID, false, nil)
	must.NoError(t, err)
	a.awaitLog(t, "control: stop 15\n")
	a.awaitLog(t, "control: stopping\n")
	a.await(t, api.AllocClientStatusComplete)
	must.Eq(t, 0, a.awaitEvent(t, api.TaskTerminated).ExitCode)
}
