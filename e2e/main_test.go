// SPDX-License-Identifier: MPL-2.0

// Package e2e runs jobs in real Nomad and Consul agents, with images from a real
// registry, in a sandbox.
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
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

// The agents and the registries run during all tests. A test that kills or restarts
// one of them starts another one.
var (
	tools   cluster.Tools
	consul  *cluster.Consul
	nomad   *cluster.Nomad
	public  *registry.Registry // everyone may pull and push
	private *registry.Registry // only user may
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
	if err := errors.Join(startRegistries(ctx), startAgents(ctx)); err != nil {
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
	if err := errors.Join(nothingLeft(before), noImages(nomad)); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: after the last test:", err)
		code = max(code, 1)
	}
	if err := errors.Join(nomad.Stop(), consul.Stop(), public.Stop(), private.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		code = max(code, 1)
	}
	return code
}

func startRegistries(ctx context.Context) (err error) {
	if tools, err = cluster.FindTools("nomad"); err != nil {
		return err
	}
	if public, err = startRegistry(ctx, publicHost, nil); err != nil {
		return err
	}
	private, err = startRegistry(ctx, privateHost, map[string]string{user: password})
	return err
}

func startAgents(ctx context.Context) (err error) {
	if err := makeMountedVolume(); err != nil {
		return err
	}
	if consul, err = cluster.StartConsul(ctx, tools, sandbox.Dir()); err != nil {
		return err
	}
	nomad, err = cluster.StartNomad(ctx, tools, sandbox.Dir(), cluster.Options{
		Name: "nomad", PluginConfig: registryConfig(),
		HostVolumes: map[string]string{mountedVolume: mountedVolumeDir()},
	})
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

// noImages returns an error unless "image gc" empties the cache of an agent without tasks.
func noImages(n *cluster.Nomad) error {
	if err := command("image", "gc", "--all", "--state-dir", n.StateDir); err != nil {
		return err
	}
	left, err := leftover.Images(n.StateDir)
	if len(left) > 0 {
		err = fmt.Errorf("left after image gc: %q", left)
	}
	return err
}
