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

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// client starts a client agent that a test can kill or restart. Its plugin has the
// additional configuration.
func client(t *testing.T, name string, index int, config ...string) *cluster.Nomad {
	t.Helper()
	n, err := cluster.StartNomad(t.Context(), tools, sandbox.Dir(), cluster.Options{
		Name: name, Index: index, Server: nomad, PluginConfig: registryConfig() + strings.Join(config, "\n"),
	})
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, n.Stop()) })
	return n
}

// counter returns a job whose guest prints a numbered line ten times a second. A
// guest that was restarted would begin at 1.
func counter(t *testing.T) *api.Job {
	return guestJob(t, "spew", "every=100000000", "width=20")
}

var line = regexp.MustCompile(`spew ([0-9]{10})`)

// requireCount waits until the guest has printed ten lines after line number from. It
// returns the number of the last line.
func (a *alloc) requireCount(t *testing.T, from int) (last int) {
	t.Helper()
	a.awaitOutput(t, func(output string) bool {
		lines := line.FindAllStringSubmatch(output, -1)
		if len(lines) > 0 {
			last, _ = strconv.Atoi(lines[len(lines)-1][1]) // the pattern matches only digits
		}
		return last >= from+10
	})
	return last
}

func TestPluginKilled_GuestContinues(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	n := client(t, "plugin-killed", 1)
	a := run(t, n, counter(t))
	last := a.requireCount(t, 0)
	guest := a.pids(t)
	must.SliceNotEmpty(t, guest)

	old := pluginPids(t, n)
	must.SliceNotEmpty(t, old)
	for _, pid := range old {
		must.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	must.Wait(t, testenv.Eventually(func() error {
		for _, pid := range pluginPids(t, n) {
			if !slices.Contains(old, pid) {
				return nil
			}
		}
		return fmt.Errorf("the agent has not restarted the plugin")
	}))

	a.requireCount(t, last)
	must.Eq(t, guest, a.pids(t))
	must.NoError(t, a.refresh())
	must.Eq(t, 0, int(a.TaskStates[a.task].Restarts))
	must.Eq(t, api.AllocClientStatusRunning, a.ClientStatus)
	a.stop(t)
}

func TestAgentRestarted_GuestContinues(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	noNetwork := func(job *api.Job) *api.Job { return job }
	cases := []struct {
		name    string
		network func(*api.Job) *api.Job
		end     func(*cluster.Nomad) error
	}{
		{"stopped", bridge, (*cluster.Nomad).Stop},
		// A killed agent loses the network of a young alloc, because it saves that
		// state only once a minute.
		{"killed", noNetwork, func(n *cluster.Nomad) error { n.Kill(); return nil }},
	}
	for i, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			n := client(t, "agent-"+tc.name, 2+i)
			a := run(t, n, tc.network(counter(t)))
			last := a.requireCount(t, 0)
			guest := a.pids(t)
			must.SliceNotEmpty(t, guest)

			must.NoError(t, tc.end(n))
			must.Eq(t, guest, a.pids(t))
			must.NoError(t, n.Start(t.Context()))

			a.requireCount(t, last)
			must.Eq(t, guest, a.pids(t))
			must.NoError(t, a.refresh())
			must.Eq(t, 0, int(a.TaskStates[a.task].Restarts))
			a.stop(t)
		})
	}
}

// pluginPids returns the plugin processes that the agent has started.
func pluginPids(t *testing.T, n *cluster.Nomad) []int {
	t.Helper()
	return processes(t, func(dir string) bool {
		program, _ := os.Readlink(filepath.Join(dir, "exe")) // "" after its end
		return filepath.Base(program) == "nomad-driver-lkl" && strings.HasPrefix(program, n.Dir)
	})
}
