// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/daemon"
)

// Driver is the name of the driver under test in job files and on nodes.
const Driver = "lkl"

// readyTimeout limits the time from an agent's start to a healthy driver. It takes a
// few seconds on an idle machine, and longer while other tests run.
const readyTimeout = 90 * time.Second

// Options configure a Nomad agent.
type Options struct {
	Name string // of the directory, the node and the node pool
	// Server makes the agent a client of that server. Its state is on disk, so that
	// it can be stopped, killed and started again. Without Server, the agent is both
	// server and client, keeps its state in memory, and its node is in the pool
	// "default".
	Server *Nomad
	Index  int // unique among the running agents; 0 for the server
	// PluginConfig is added to the plugin's config block, as HCL.
	PluginConfig string
	// Conflists are CNI networks of the client, as JSON. Jobs use them by their name.
	Conflists []string
	CNIPath   string // a directory with further CNI plugins, or ""
	// HostVolumes are static host volumes of the client, besides Volume: directories by name.
	HostVolumes map[string]string
}

// Nomad is a running agent.
type Nomad struct {
	API      *api.Client
	Address  string // of its HTTP API, for NOMAD_ADDR
	Dir      string // all files of the agent
	StateDir string // state_dir of the plugin
	Pool     string // node pool
	NodeID   string

	tools   Tools
	options Options
	process *daemon.Process
}

// StartNomad starts an agent below dir. It returns when the node is ready and its
// driver is healthy.
func StartNomad(ctx context.Context, tools Tools, dir string, options Options) (*Nomad, error) {
	n := &Nomad{
		Address: fmt.Sprintf("http://127.0.0.1:%d", port(options.Index)),
		Dir:     filepath.Join(dir, options.Name),
		Pool:    api.NodePoolDefault,
		tools:   tools,
		options: options,
	}
	if options.Server != nil {
		n.Pool = options.Name
	}
	n.StateDir = filepath.Join(n.Dir, "lkl")
	for _, name := range []string{"data", "tmp", "plugins", "cni", "volume"} {
		if err := os.MkdirAll(filepath.Join(n.Dir, name), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(n.VolumeDir(), 0o777); err != nil {
		return nil, err
	}
	if err := copyFile(tools.Plugin, filepath.Join(n.Dir, "plugins", filepath.Base(tools.Plugin))); err != nil {
		return nil, fmt.Errorf("install the plugin: %w", err)
	}
	for i, conflist := range options.Conflists {
		file := filepath.Join(n.Dir, "cni", fmt.Sprintf("%d.conflist", i))
		if err := os.WriteFile(file, []byte(conflist), 0o600); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(n.configFile(), []byte(n.config()), 0o600); err != nil {
		return nil, err
	}
	var err error
	if n.API, err = api.NewClient(&api.Config{Address: n.Address}); err != nil {
		return nil, err
	}
	return n, n.Start(ctx)
}

// Start starts the agent again after Stop or Kill, with the same state.
func (n *Nomad) Start(ctx context.Context) error {
	args := []string{"agent", "-config", n.configFile()}
	if n.options.Server == nil {
		args = append(args, "-dev")
	}
	env := []string{
		// A development agent mounts the directories of tasks in the temporary directory.
		"TMPDIR=" + filepath.Join(n.Dir, "tmp"),
		// The agent runs consul before each sidecar of Consul's service mesh.
		"PATH=" + filepath.Dir(n.tools.Consul) + ":" + os.Getenv("PATH"),
	}
	var err error
	if n.process, err = daemon.Start(n.LogFile(), env, n.tools.Nomad, args...); err != nil {
		return err
	}
	if err := daemon.Until(ctx, readyTimeout, n.ready); err != nil {
		return errors.Join(err, n.Stop())
	}
	return nil
}

// LogFile returns the path of the log of the agent and its plugin.
func (n *Nomad) LogFile() string { return filepath.Join(n.Dir, "agent.log") }

// Stop stops the agent as an operator does. The tasks of a client go on.
func (n *Nomad) Stop() error { return n.process.Stop() }

// Kill ends the agent with SIGKILL.
func (n *Nomad) Kill() { n.process.Kill() }

// Pid returns the process ID of the agent.
func (n *Nomad) Pid() int { return n.process.Pid() }

// ready returns nil when the node accepts tasks of the driver.
func (n *Nomad) ready() error {
	if err := n.process.Alive(); err != nil {
		return err
	}
	self, err := n.API.Agent().Self()
	if err != nil {
		return err
	}
	n.NodeID = self.Stats["client"]["node_id"]
	node, err := n.Node()
	if err != nil {
		return err
	}
	if node.Status != api.NodeStatusReady {
		return fmt.Errorf("node is %s", node.Status)
	}
	driver := node.Drivers[Driver]
	if driver == nil || !driver.Detected || !driver.Healthy {
		return fmt.Errorf("driver %q is not healthy: %+v", Driver, driver)
	}
	return nil
}

// Node returns the server's record of the agent's node.
func (n *Nomad) Node() (*api.Node, error) {
	node, _, err := n.server().API.Nodes().Info(n.NodeID, nil)
	return node, err
}

func (n *Nomad) server() *Nomad {
	if n.options.Server != nil {
		return n.options.Server
	}
	return n
}

func (n *Nomad) configFile() string { return filepath.Join(n.Dir, "agent.hcl") }

// port returns the HTTP port of the agent with this index. The next two ports are
// those of RPC and Serf. Index 0 has Nomad's default ports, 4646 to 4648.
func port(index int) int { return 4646 + 10*index }

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}
