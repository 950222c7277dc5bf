// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	consul "github.com/hashicorp/consul/api"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/daemon"
)

// Consul is a Consul agent on its usual ports of the loopback address.
type Consul struct {
	API *consul.Client
	// Socket is the HTTP API for tasks in the network of their alloc, as a value of
	// CONSUL_HTTP_ADDR.
	Socket  string
	process *daemon.Process
}

// StartConsul starts a development agent with its log below dir. It returns when
// the agent is the leader.
func StartConsul(ctx context.Context, tools Tools, dir string) (*Consul, error) {
	dir = filepath.Join(dir, "consul")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	client, err := consul.NewClient(consul.DefaultConfig())
	if err != nil {
		return nil, err
	}
	socket := "unix://" + filepath.Join(dir, "http.sock")
	p, err := daemon.Start(filepath.Join(dir, "agent.log"), nil, tools.Consul, "agent", "-dev", "-log-level", "info",
		"-hcl", fmt.Sprintf("addresses { http = %q }", "127.0.0.1 "+socket))
	if err != nil {
		return nil, err
	}
	c := &Consul{API: client, Socket: socket, process: p}
	err = daemon.Until(ctx, readyTimeout, func() error {
		if err := p.Alive(); err != nil {
			return err
		}
		leader, err := client.Status().Leader()
		if err == nil && leader == "" {
			err = errors.New("consul has no leader")
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// Stop stops the agent.
func (c *Consul) Stop() error { return c.process.Stop() }
