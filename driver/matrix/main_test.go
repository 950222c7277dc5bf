// SPDX-License-Identifier: MPL-2.0

package matrix

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// buildDir contains the kernel of the guests.
var buildDir string

func TestMain(m *testing.M) {
	flag.Parse()
	// Most tests wait for idle connections, so the number of processors is no useful limit.
	if err := flag.Set("test.parallel", "1000"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var err error
	if buildDir, err = os.MkdirTemp("", "lkl-matrix-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(buildDir)
	os.Exit(status)
}

// compiled is the result of the only compilation.
var compiled struct {
	sync.Once
	path string
	err  error
}

// agentKernel returns the path of the guest's kernel.
func agentKernel(t *testing.T) string {
	t.Helper()
	cc := testenv.Guest(t, "lkl-cc")
	compiled.Do(func() {
		compiled.path = filepath.Join(buildDir, "agent.spt")
		out, err := exec.Command(cc, "-O2", "-Wall", "-Wextra", "-Werror", "-o", compiled.path,
			filepath.Join("testdata", "agent.c")).CombinedOutput()
		if err != nil {
			compiled.err = fmt.Errorf("%s: %w", out, err)
		}
	})
	must.NoError(t, compiled.err)
	return compiled.path
}
