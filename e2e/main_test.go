// SPDX-License-Identifier: MPL-2.0

// Package e2e runs real jobs in real Nomad agents, beside a real Consul agent,
// all in a sandbox of their own.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/leftover"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// What every test may use: agents that run throughout. A test that kills or
// restarts one starts its own.
var (
	tools  cluster.Tools
	consul *cluster.Consul
	nomad  *cluster.Nomad
)

// patience is how long anything may take before a test gives up: far more than
// it takes, since several tests run at a time on a small machine.
const patience = 90 * time.Second

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 { // without a sandbox every test says what it needs
		os.Exit(m.Run())
	}
	os.Exit(sandbox.Run(func() int { return suite(m) }))
}

// suite is the run inside the sandbox. What the tests have left behind fails it,
// whatever they said.
func suite(m *testing.M) int {
	ctx := context.Background()
	began := time.Now()
	if err := startAgents(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "end-to-end tests:", err)
		return 1
	}
	fmt.Printf("Nomad and Consul are up after %s\n", time.Since(began).Round(time.Millisecond))
	before, err := snapshot()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := nothingLeft(ctx, before); err != nil {
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

// nothingLeft waits until everything of the tests' jobs is gone.
func nothingLeft(ctx context.Context, before leftover.Snapshot) error {
	return cluster.Until(ctx, patience, func() error {
		if err := nomad.API.System().GarbageCollect(); err != nil {
			return err
		}
		now, err := snapshot()
		if err != nil {
			return err
		}
		return leftover.Error(now.Since(before))
	})
}

// snapshot lists what the shared agent's tasks may own, and the cgroups of
// every alloc of every agent.
func snapshot() (leftover.Snapshot, error) {
	return leftover.Take(allocs.list(), taskFiles(nomad)...)
}

// taskFiles are the directories with files of tasks: the driver's state and the
// agent's allocs.
func taskFiles(n *cluster.Nomad) []string {
	return []string{filepath.Join(n.StateDir, "tasks"), filepath.Join(n.Dir, "tmp"), filepath.Join(n.Dir, "data", "alloc")}
}
