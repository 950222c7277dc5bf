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
)

// Driver is the name of the driver under test in job files and on nodes.
const Driver = "lkl"

// readyTimeout is how long an agent has from its start to a healthy driver: a
// few seconds on an idle machine, more beside other tests.
const readyTimeout = 90 * time.Second

// Options say what kind of Nomad agent to start.
type Options struct {
	Name string // of its directory, its node and its node pool
	// Server makes it a client of that server, with its state on disk, so that
	// it can be stopped, killed and started again. Without one it is a server
	// and client in one, in memory, whose node is in the pool "default".
	Server *Nomad
	Index  int // different for agents that run at the same time; the server's is 0
	// PluginConfig is more of the plugin's config block, as HCL.
	PluginConfig string
}

// Nomad is an agent at work.
type Nomad struct {
	API      *api.Client
	Address  string // of its HTTP API, for NOMAD_ADDR
	Dir      string // everything that it writes
	StateDir string // the plugin's
	Pool     string // the node pool of its node
	NodeID   string

	tools   Tools
	options Options
	process *process
}

// StartNomad starts an agent below dir and returns when its node is ready and
// the driver is healthy on it.
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
	for _, name := range []string{"data", "tmp", "plugins", "cni"} {
		if err := os.MkdirAll(filepath.Join(n.Dir, name), 0o755); err != nil {
			return nil, err
		}
	}
	if err := copyFile(tools.Plugin, filepath.Join(n.Dir, "plugins", filepath.Base(tools.Plugin))); err != nil {
		return nil, fmt.Errorf("install the plugin: %w", err)
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
	// A temporary directory of its own: a development agent keeps allocs there.
	env := []string{"TMPDIR=" + filepath.Join(n.Dir, "tmp")}
	var err error
	if n.process, err = start(n.LogFile(), env, n.tools.Nomad, args...); err != nil {
		return err
	}
	if err := Until(ctx, readyTimeout, n.ready); err != nil {
		return errors.Join(err, n.Stop())
	}
	return nil
}

// LogFile holds what the agent and the plugin in it have logged.
func (n *Nomad) LogFile() string { return filepath.Join(n.Dir, "agent.log") }

// Stop ends the agent as an operator does. Tasks on a client of a server stay.
func (n *Nomad) Stop() error { return n.process.stop() }

// Kill ends the agent with SIGKILL.
func (n *Nomad) Kill() { n.process.kill() }

// Pid of the agent.
func (n *Nomad) Pid() int { return n.process.cmd.Process.Pid }

// ready is nil when the node takes tasks of the driver.
func (n *Nomad) ready() error {
	if err := n.process.alive(); err != nil {
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

// Node is what the server knows of the agent's node.
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

// port of the HTTP API of the agent of that index; RPC and Serf are the next
// two. 4646 to 4648 are Nomad's own.
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
