// SPDX-License-Identifier: MPL-2.0

// Package e2e runs jobs in real Nomad and Consul agents, in a sandbox.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/leftover"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// The agents run during all tests. A test that kills or restarts an agent starts
// another one.
var (
	tools  cluster.Tools
	consul *cluster.Consul
	nomad  *cluster.Nomad
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 { // the tests skip or fail without a sandbox
		os.Exit(m.Run())
	}
	os.Exit(sandbox.Run(func() int { return runInSandbox(m) }))
}

// runInSandbox starts the agents and runs the tests. It fails if the tests have left
// something behind.
func runInSandbox(m *testing.M) int {
	ctx := context.Background()
	began := time.Now()
	if err := startAgents(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "end-to-end tests:", err)
		return 1
	}
	fmt.Printf("Nomad and Consul are ready after %s\n", time.Since(began).Round(time.Millisecond))
	before, err := snapshot()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := nothingLeft(before); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: after the last test:", err)
		code = max(code, 1)
	}
	if err := errors.Join(nomad.Stop(), consul.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		code = max(code, 1)
	}
	return code
}

func startAgents(ctx context.Context) (err error) {
	if tools, err = cluster.FindTools("nomad"); err != nil {
		return err
	}
	if consul, err = cluster.StartConsul(ctx, tools, sandbox.Dir()); err != nil {
		return err
	}
	nomad, err = cluster.StartNomad(ctx, tools, sandbox.Dir(), cluster.Options{Name: "nomad"})
	return err
}

// nothingLeft waits until no resource of a test's job is left.
func nothingLeft(before leftover.Snapshot) error {
	return testenv.Eventually(func() error {
		if err := nomad.API.System().GarbageCollect(); err != nil {
			return err
		}
		now, err := snapshot()
		if err != nil {
			return err
		}
		return leftover.Error(now.Since(before))
	}).Run()
}

// snapshot lists the resources of the shared agent's tasks, and the cgroups of all
// allocs.
func snapshot() (leftover.Snapshot, error) {
	return leftover.Take(allocs.list(), taskFiles(nomad)...)
}

// taskFiles returns the directories with files of tasks: the driver's state and the
// agent's allocs.
func taskFiles(n *cluster.Nomad) []string {
	return []string{filepath.Join(n.StateDir, "tasks"), filepath.Join(n.Dir, "tmp"), filepath.Join(n.Dir, "data", "alloc")}
}
