// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// client starts a client agent for a test that ends it in its own ways.
func client(t *testing.T, name string, index int) *cluster.Nomad {
	t.Helper()
	n, err := cluster.StartNomad(t.Context(), tools, sandbox.Dir(), cluster.Options{
		Name: name, Index: index, Server: nomad,
	})
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, n.Stop()) })
	return n
}

// counter is a job whose guest writes a numbered line ten times a second: one
// that was started again would begin at 1.
func counter(t *testing.T) *api.Job {
	return guestJob(t, "spew", "every=100000000", "width=20")
}

var line = regexp.MustCompile(`spew ([0-9]{10})`)

// mustCountOn waits for ten more lines of the guest than there are, or than a
// test has seen before; it returns the number of the last.
func (a *alloc) mustCountOn(t *testing.T, from int) (last int) {
	t.Helper()
	a.awaitOutput(t, func(output string) bool {
		lines := line.FindAllStringSubmatch(output, -1)
		if len(lines) > 0 {
			last, _ = strconv.Atoi(lines[len(lines)-1][1]) // the pattern lets nothing else through
		}
		return last >= from+10
	})
	return last
}

func TestPluginKilled_GuestRunsOn(t *testing.T) {
	needs(t)
	t.Parallel()
	n := client(t, "plugin-killed", 1)
	a := run(t, n, counter(t))
	last := a.mustCountOn(t, 0)
	guest := a.pids(t)
	must.SliceNotEmpty(t, guest)

	old := pluginPids(t, n)
	must.SliceNotEmpty(t, old)
	for _, pid := range old {
		must.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	eventually(t, func() error {
		for _, pid := range pluginPids(t, n) {
			if !slices.Contains(old, pid) {
				return nil
			}
		}
		return fmt.Errorf("the agent has not started the plugin again")
	})

	a.mustCountOn(t, last)
	must.Eq(t, guest, a.pids(t))
	must.NoError(t, a.refresh())
	must.Eq(t, 0, int(a.TaskStates[a.task].Restarts))
	must.Eq(t, api.AllocClientStatusRunning, a.ClientStatus)
	a.stop(t)
}

func TestAgentRestarted_GuestRunsOn(t *testing.T) {
	needs(t)
	t.Parallel()
	none := func(job *api.Job) *api.Job { return job }
	cases := []struct {
		name    string
		network func(*api.Job) *api.Job
		end     func(*cluster.Nomad) error
	}{
		{"stopped", bridge, (*cluster.Nomad).Stop},
		// Nomad itself loses the network of a young alloc when it is killed: it
		// writes that down once a minute.
		{"killed", none, func(n *cluster.Nomad) error { n.Kill(); return nil }},
	}
	for i, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			n := client(t, "agent-"+tc.name, 2+i)
			a := run(t, n, tc.network(counter(t)))
			last := a.mustCountOn(t, 0)
			guest := a.pids(t)
			must.SliceNotEmpty(t, guest)

			must.NoError(t, tc.end(n))
			must.Eq(t, guest, a.pids(t))
			must.NoError(t, n.Start(t.Context()))

			a.mustCountOn(t, last)
			must.Eq(t, guest, a.pids(t))
			must.NoError(t, a.refresh())
			must.Eq(t, 0, int(a.TaskStates[a.task].Restarts))
			a.stop(t)
		})
	}
}

// pluginPids are the plugin's processes that the agent has started.
func pluginPids(t *testing.T, n *cluster.Nomad) []int {
	t.Helper()
	return processes(t, func(dir string) bool {
		program, _ := os.Readlink(filepath.Join(dir, "exe")) // "": it has just ended
		return filepath.Base(program) == "nomad-driver-lkl" && strings.HasPrefix(program, n.Dir)
	})
}
