// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// kernels sets the variable that every example has: where the unikernels are.
func kernels() string { return fmt.Sprintf("kernels = %q\n", tools.Guests) }

// examples says of each file in examples/jobs how it shows that it works.
var examples = map[string]func(*testing.T, *alloc){
	"httpd.nomad.hcl":  func(t *testing.T, a *alloc) { a.awaitAnswer(t) },
	"consul.nomad.hcl": func(t *testing.T, a *alloc) { a.awaitAnswer(t) },
	"hello.nomad.hcl": func(t *testing.T, a *alloc) {
		a.await(t, api.AllocClientStatusComplete)
		a.awaitLog(t, "command line: ")
	},
}

func TestExamples_Work(t *testing.T) {
	needs(t)
	t.Parallel()
	entries, err := os.ReadDir(tools.Jobs)
	must.NoError(t, err)
	must.SliceNotEmpty(t, entries)
	for _, entry := range entries {
		t.Run(entry.Name(), func(t *testing.T) {
			t.Parallel()
			works, ok := examples[entry.Name()]
			must.True(t, ok, must.Sprint("this example has no entry in examples_test.go"))
			job := parse(t, entry.Name(), kernels())
			job.ID = ptr("example-" + strings.TrimSuffix(entry.Name(), ".nomad.hcl"))
			works(t, start(t, nomad, job))
		})
	}
	must.MapLen(t, len(entries), examples, must.Sprint("an entry has no file"))
}
