// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// kernels sets the variable of every example that contains the directory of the
// unikernels.
func kernels() string { return fmt.Sprintf("kernels = %q\n", tools.Guests) }

// An example is the test of a file in examples/jobs.
type example struct {
	variables func(*testing.T) string
	check     func(*testing.T, *alloc)
}

var examples = map[string]example{
	"httpd.nomad.hcl":         {allKernels, func(t *testing.T, a *alloc) { a.awaitAnswer(t) }},
	"consul.nomad.hcl":        {allKernels, func(t *testing.T, a *alloc) { a.awaitAnswer(t) }},
	"hello.nomad.hcl":         {images, completesWith("command line: from alloc=")},
	"disk.nomad.hcl":          {allKernels, completesWith("disk: ")},
	"artifact.nomad.hcl":      {serveHello, completesWith("command line: downloaded\n")},
	"stop.nomad.hcl":          {allKernels, stopsOnItsSignal},
	"lkl-hello.nomad.hcl":     {images, completesWith("Hello from Linux 6.1.")},
	"nginx.nomad.hcl":         {images, func(t *testing.T, a *alloc) { a.awaitAnswer(t) }},
	"nginx-config.nomad.hcl":  {images, servesTheTemplate},
	"nginx-tls.nomad.hcl":     {withCertificate, servesNewCertificates},
	"nomad-ui.nomad.hcl":      {serveAPI, servesTheAPI},
	"redis.nomad.hcl":         {images, showsWritesInItsCheck},
	"python3.nomad.hcl":       {images, servesFromPython},
	"group.nomad.hcl":         {images, answers("visit ")},
	"connect.nomad.hcl":       {mesh, answers("alloc ")},
	"host.nomad.hcl":          {images, answers("nginx")},
	"volume.nomad.hcl":        {images, countsOnTheVolume},
	"load-balancer.nomad.hcl": {images, followsScaling},
	"rootfs.nomad.hcl":        {allKernels, completesWith("argument: from two files\n")},
	"image-archive.nomad.hcl": {serveArchive, completesWith("command line: from an archive\n")},
	"image-private.nomad.hcl": {privateImage, completesWith("command line: from a private registry\n")},
	"memcached.nomad.hcl":     {images, storesInMemcached},
	"mosquitto.nomad.hcl":     {images, keepsRetainedMessages},
	"haproxy.nomad.hcl":       {images, func(t *testing.T, a *alloc) { a.awaitAnswersOf(t, 2) }},
	"lighttpd.nomad.hcl":      {images, answers("Served by lighttpd.")},
	"sqlite3.nomad.hcl":       {images, completesWith("visit 1 by ")},
	"busybox.nomad.hcl":       {images, completesWith("sum 42\n")},
}

func TestExamples_Work(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	entries, err := os.ReadDir(tools.Jobs)
	must.NoError(t, err)
	for _, entry := range entries {
		t.Run(entry.Name(), func(t *testing.T) {
			t.Parallel()
			example, ok := examples[entry.Name()]
			must.True(t, ok, must.Sprint("the example has no entry in examples_test.go"))
			job := parse(t, entry.Name(), example.variables(t))
			job.ID = ptr("example-" + strings.TrimSuffix(entry.Name(), ".nomad.hcl"))
			example.check(t, start(t, nomad, job))
		})
	}
	must.Eq(t, len(entries), len(examples), must.Sprint("an entry of examples_test.go has no file"))
}

func allKernels(*testing.T) string { return kernels() }

// serveHello sets the variables of the example artifact.
func serveHello(t *testing.T) string {
	t.Helper()
	url, checksum := serve(t, filepath.Join(tools.Guests, "hello.spt"))
	return fmt.Sprintf("source = %q\nchecksum = %q\n", url, checksum)
}

// mesh sets the variables of the example connect.
func mesh(t *testing.T) string { return images(t) + fmt.Sprintf("consul = %q\n", consul.Socket) }

// answers requires a page at the port http that contains the text.
func answers(text string) func(*testing.T, *alloc) {
	return func(t *testing.T, a *alloc) {
		t.Helper()
		must.StrContains(t, a.awaitAnswer(t), text)
	}
}

func completesWith(output string) func(*testing.T, *alloc) {
	return func(t *testing.T, a *alloc) {
		t.Helper()
		a.await(t, api.AllocClientStatusComplete)
		a.awaitLog(t, output)
	}
}

// servesTheTemplate requires the page of the job's template, and the request in the
// log, as configured in the job.
func servesTheTemplate(t *testing.T, a *alloc) {
	t.Helper()
	must.Eq(t, "alloc "+a.ID[:8]+" of nginx-config\n", a.awaitAnswer(t))
	a.awaitLog(t, "GET / HTTP/1.1")
}

// servesFromPython requires the answer of the job's program, which exits when the
// job stops.
func servesFromPython(t *testing.T, a *alloc) {
	t.Helper()
	answer := a.awaitAnswer(t)
	must.StrHasPrefix(t, fmt.Sprintf(`{"alloc": %q, "kernel": "6.1.`, a.ID[:8]), answer)
	must.StrContains(t, answer, `"path": "/", "python": "3.11.`)
	must.Eq(t, 0, a.stop(t).ExitCode)
}

// stopsOnItsSignal requires that the guest exits when it receives the signal, long
// before the kill timeout.
func stopsOnItsSignal(t *testing.T, a *alloc) {
	t.Helper()
	a.awaitLog(t, "control: waiting\n")
	_, _, err := nomad.API.Jobs().Deregister(a.JobID, false, nil)
	must.NoError(t, err)
	a.awaitLog(t, "control: stop 15\n")
	a.awaitLog(t, "control: stopping\n")
	a.await(t, api.AllocClientStatusComplete)
	must.Eq(t, 0, a.awaitEvent(t, api.TaskTerminated).ExitCode)
}
