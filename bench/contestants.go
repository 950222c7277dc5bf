// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/nomad/client/lib/cgroupslib"
	"github.com/hashicorp/nomad/client/lib/idset"
	"github.com/hashicorp/nomad/client/lib/numalib"
	"github.com/hashicorp/nomad/client/lib/numalib/hw"
	"github.com/hashicorp/nomad/drivers/rawexec"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
)

// A bench has both drivers, and a directory for their files.
type bench struct {
	tree, dir string
	lkl, raw  drivers.DriverPlugin
	closers   []func()
}

func newBench(tree string) (_ *bench, err error) {
	dir, err := os.MkdirTemp("", "lkl-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{tree: tree, dir: dir}
	b.closers = append(b.closers, func() { _ = os.RemoveAll(dir) })
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	topology := numalib.Scan(numalib.PlatformScanners(false))
	if err := prepareCgroups(topology); err != nil {
		return nil, fmt.Errorf("prepare the control groups: %w", err)
	}
	agent := &base.AgentConfig{Driver: &base.ClientDriverConfig{
		Topology: topology,
		// The executors of raw_exec listen on these ports.
		ClientMinPort: 14000, ClientMaxPort: 14512,
	}}
	if err := b.startPlugin(agent); err != nil {
		return nil, fmt.Errorf("start the plugin: %w", err)
	}
	if err := b.startRawExec(agent); err != nil {
		return nil, fmt.Errorf("start raw_exec: %w", err)
	}
	return b, nil
}

// prepareCgroups sets up the control groups of Nomad as an agent does when it starts,
// because no process can enter them before. It changes nothing if an agent has run on
// this machine.
func prepareCgroups(topology *numalib.Topology) error {
	share := cgroupslib.LinuxResourcesPath("alloc", "task", false)
	if cgroupslib.GetMode() == cgroupslib.CG2 {
		share = filepath.Dir(share) // the parent of the task's group
	}
	cpus, err := os.ReadFile(filepath.Join(share, "cpuset.cpus"))
	if err == nil && len(bytes.TrimSpace(cpus)) > 0 {
		return nil
	}
	cores := topology.UsableCores()
	if err := cgroupslib.Init(hclog.NewNullLogger(), cores.String()); err != nil {
		return err
	}
	return cgroupslib.GetPartition(hclog.NewNullLogger(), cores).Release(idset.Empty[hw.CoreID]())
}

func (b *bench) close() {
	for i := len(b.closers) - 1; i >= 0; i-- {
		b.closers[i]()
	}
}

// guest returns the path of a unikernel of "make guests".
func (b *bench) guest(name string) string { return filepath.Join(b.tree, "build", "guest", name) }

// startPlugin starts the built plugin as a Nomad client does.
func (b *bench) startPlugin(agent *base.AgentConfig) error {
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Error})
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  base.Handshake,
		Plugins:          map[string]plugin.Plugin{base.PluginTypeDriver: drivers.NewDriverPlugin(nil, log)},
		Cmd:              exec.Command(filepath.Join(b.tree, "build", "nomad-driver-lkl")),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           log,
	})
	b.closers = append(b.closers, client.Kill)
	protocol, err := client.Client()
	if err != nil {
		return err
	}
	raw, err := protocol.Dispense(base.PluginTypeDriver)
	if err != nil {
		return err
	}
	b.lkl = raw.(drivers.DriverPlugin)
	return configure(b.lkl, agent, map[string]any{
		"state_dir":   filepath.Join(b.dir, "state"),
		"image_paths": []string{filepath.Join(b.tree, "build", "guest"), b.dir},
	})
}

func (b *bench) startRawExec(agent *base.AgentConfig) error {
	ctx, cancel := context.WithCancel(context.Background())
	b.closers = append(b.closers, cancel)
	b.raw = rawexec.NewRawExecDriver(ctx, hclog.NewNullLogger())
	return configure(b.raw, agent, map[string]any{"enabled": true})
}

func configure(d drivers.DriverPlugin, agent *base.AgentConfig, config map[string]any) error {
	var data []byte
	if err := base.MsgPackEncode(&data, config); err != nil {
		return err
	}
	return d.SetConfig(&base.Config{ApiVersion: drivers.ApiVersion010, PluginConfig: data, AgentConfig: agent})
}
