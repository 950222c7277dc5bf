// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/daemon"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/leftover"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

const (
	jobName  = "nginx"
	taskName = "nginx"
	// The registry's address is the one that the example has as default.
	registryAddress = "127.0.0.1:5000"
	image           = registryAddress + "/nginx:1.22"
	// stepTimeout is much longer than any step takes on a slow machine.
	stepTimeout = time.Minute
)

// demo is the state that the steps share.
type demo struct {
	ctx      context.Context
	tools    cluster.Tools
	agent    *cluster.Nomad
	registry *registry.Registry
	before   leftover.Snapshot // before the job
	owned    []string          // resources of the running job
	alloc    *api.Allocation
}

func (d *demo) startServers() error {
	dir := filepath.Join(sandbox.Dir(), "registry")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	var err error
	d.registry, err = registry.Start(d.ctx, registry.Options{Program: d.tools.Registry, Dir: dir, Address: registryAddress})
	if err != nil {
		return err
	}
	note("Debian's docker-registry at %s, without TLS, which the plugin's configuration allows", registryAddress)
	d.agent, err = cluster.StartNomad(d.ctx, d.tools, sandbox.Dir(), cluster.Options{
		Name: "demo", PluginConfig: d.registry.PluginConfig(),
	})
	if err != nil {
		return err
	}
	version, err := exec.Command(d.tools.Nomad, "version").Output()
	if err != nil {
		return fmt.Errorf("ask %s for its version: %w", d.tools.Nomad, err)
	}
	first, _, _ := strings.Cut(string(version), "\n")
	note("%s, as server and client, with the plugin in its plugin_dir", first)
	d.before, err = d.snapshot()
	return err
}

func (d *demo) showFingerprint() error {
	return d.nomad(matching("driver."+cluster.Driver), "node", "status", "-self", "-verbose")
}

// pushImage packs the kernel with nginx and the files of its root.
func (d *demo) pushImage() error {
	nginx := filepath.Join(d.tools.Guests, "lkl-nginx")
	return d.lkl("image", "build", "--kernel", nginx+".spt", "--root", nginx+".root", "-o", image, "--plain-http")
}

func (d *demo) runJob() error {
	job := filepath.Join(d.tools.Jobs, jobName+".nomad.hcl")
	if err := d.nomad(everything, "job", "run", "-detach", job); err != nil {
		return err
	}
	err := d.until(func() error {
		allocs, _, err := d.agent.API.Jobs().Allocations(jobName, true, nil)
		if err != nil {
			return err
		}
		for _, stub := range allocs {
			if stub.ClientStatus == api.AllocClientStatusRunning {
				d.alloc, _, err = d.agent.API.Allocations().Info(stub.ID, nil)
				return err
			}
			if stub.ClientStatus == api.AllocClientStatusFailed {
				return daemon.Final(fmt.Errorf("the alloc has failed: %s", lastEvent(stub)))
			}
		}
		return errors.New("no alloc is running")
	})
	if err != nil {
		return err
	}
	return d.nomad(section("Allocations"), "job", "status", jobName)
}

// showLogs shows nginx's notices, which are on standard error.
func (d *demo) showLogs() error {
	err := d.until(func() error {
		out, err := d.command("alloc", "logs", "-stderr", d.alloc.ID).Output()
		if err == nil && len(out) == 0 {
			err = errors.New("the log is empty")
		}
		return err
	})
	if err != nil {
		return err
	}
	return d.nomad(everything, "alloc", "logs", "-stderr", d.shortID())
}

func (d *demo) request() error {
	port := d.alloc.AllocatedResources.Shared.Ports[0]
	url := fmt.Sprintf("http://%s:%d/", port.HostIP, port.Value)
	note("port %d of the host is mapped to port %d of the unikernel", port.Value, port.To)
	fmt.Printf("     $ curl -i %s\n", url)
	var answer []byte
	err := d.until(func() (err error) {
		answer, err = exec.CommandContext(d.ctx, "curl", "-sSi", "--fail", "--max-time", "5", url).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, answer)
		}
		return err
	})
	show(string(answer))
	return err
}

func (d *demo) showStats() error {
	err := d.until(func() error {
		usage, err := d.agent.API.Allocations().Stats(d.alloc, nil)
		if err != nil {
			return err
		}
		if task := usage.Tasks[taskName]; task == nil || task.ResourceUsage.MemoryStats.RSS == 0 {
			return errors.New("the task has no statistics")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return d.nomad(section("Task Resources", "Memory Stats", "CPU Stats"), "alloc", "status", "-stats", d.shortID())
}

// stopJob stops the job. It first records the resources of the running job, for the
// next step.
func (d *demo) stopJob() error {
	running, err := d.snapshot()
	if err != nil {
		return err
	}
	d.owned = running.Since(d.before)
	if err := d.nomad(everything, "job", "stop", "-detach", jobName); err != nil {
		return err
	}
	err = d.until(func() error {
		now, _, err := d.agent.API.Allocations().Info(d.alloc.ID, nil)
		if err == nil && now.ClientStatus != api.AllocClientStatusComplete {
			err = fmt.Errorf("the alloc is %s", now.ClientStatus)
		}
		return err
	})
	if err != nil {
		return err
	}
	return d.nomad(section("Recent Events"), "alloc", "status", d.shortID())
}

// findLeftovers makes Nomad remove the stopped alloc, and compares the resources with
// those before the job.
func (d *demo) findLeftovers() error {
	if leftover.Error(d.owned) == nil {
		return errors.New("the snapshot does not contain the running task, so the comparison would prove nothing")
	}
	note("resources of the running job: %s", leftover.Kinds(d.owned))
	if err := d.nomad(everything, "system", "gc"); err != nil {
		return err
	}
	err := d.until(func() error {
		if err := d.agent.API.System().GarbageCollect(); err != nil {
			return err
		}
		now, err := d.snapshot()
		if err != nil {
			return err
		}
		return leftover.Error(now.Since(d.before))
	})
	if err != nil {
		return err
	}
	note("resources now: 0")
	return d.emptyCache()
}

// emptyCache removes the image from the cache, where it would stay for the next job.
func (d *demo) emptyCache() error {
	for _, command := range [][]string{{"list"}, {"gc", "--all"}} {
		if err := d.lkl(slices.Concat([]string{"image"}, command, []string{"--state-dir", d.agent.StateDir})...); err != nil {
			return err
		}
	}
	left, err := leftover.Images(d.agent.StateDir)
	if len(left) > 0 {
		err = fmt.Errorf("left in the image cache: %q", left)
	}
	return err
}

func (d *demo) snapshot() (leftover.Snapshot, error) {
	var allocs []string
	if d.alloc != nil {
		allocs = append(allocs, d.alloc.ID)
	}
	return leftover.Take(allocs, d.taskFiles()...)
}

// taskFiles returns the directories with files of tasks: the driver's state and the
// agent's allocs.
func (d *demo) taskFiles() []string {
	return []string{filepath.Join(d.agent.StateDir, "tasks"), filepath.Join(d.agent.Dir, "tmp")}
}

// stopServers stops the agent and the registry. The sandbox removes their files.
func (d *demo) stopServers() (err error) {
	if d.agent != nil {
		err = d.agent.Stop()
	}
	if d.registry != nil {
		err = errors.Join(err, d.registry.Stop())
	}
	return err
}

func (d *demo) until(condition func() error) error {
	return daemon.Until(d.ctx, stepTimeout, condition)
}

func (d *demo) shortID() string { return d.alloc.ID[:8] }

// nomad runs a Nomad command, and prints the part of the output that the filter keeps.
func (d *demo) nomad(keep filter, args ...string) error {
	return d.show(d.command(args...), "nomad", keep)
}

// lkl runs a command of the program lkl.
func (d *demo) lkl(args ...string) error {
	return d.show(exec.CommandContext(d.ctx, d.tools.Commands, args...), "lkl", everything)
}

// show runs a command. It prints the command line, and the part of the output that the
// filter keeps.
func (d *demo) show(cmd *exec.Cmd, name string, keep filter) error {
	args := cmd.Args[1:]
	fmt.Printf("     $ %s %s%s\n", name, strings.Join(d.shorten(args), " "), keep.shown)
	out, err := cmd.CombinedOutput()
	if err != nil {
		show(string(out))
		return fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	show(keep.lines(string(out)))
	return nil
}

func (d *demo) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(d.ctx, d.tools.Nomad, args...)
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+d.agent.Address, "NOMAD_CLI_SHOW_HINTS=false", "NO_COLOR=1")
	return cmd
}

// shorten makes paths relative to the source tree.
func (d *demo) shorten(args []string) []string {
	tree := filepath.Dir(filepath.Dir(d.tools.Jobs)) + "/"
	short := make([]string, len(args))
	for i, arg := range args {
		short[i] = strings.Replace(arg, tree, "", 1)
	}
	return short
}

func lastEvent(alloc *api.AllocationListStub) string {
	for _, state := range alloc.TaskStates {
		if n := len(state.Events); n > 0 {
			return state.Events[n-1].DisplayMessage
		}
	}
	return "no event"
}
