// SPDX-License-Identifier: MPL-2.0

// Package cluster starts real Nomad and Consul agents with the plugin under
// test, for the end-to-end tests and the demonstration.
package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Tools are the paths of the programs and files of a test run.
type Tools struct {
	Nomad    string // agent and command
	Consul   string // agent
	CNI      string // directory of the CNI plugins
	Registry string // Debian's docker-registry
	Plugin   string // the driver
	Commands string // the program lkl
	Guests   string // directory of the built unikernels
	Jobs     string // directory of the example jobs
}

// FindTools finds the files of scripts/setup and make in the source tree around
// the working directory. nomad is the name of the agent in build/tools.
func FindTools(nomad string) (Tools, error) {
	tree, err := os.Getwd()
	if err != nil {
		return Tools{}, err
	}
	for {
		if _, err := os.Stat(filepath.Join(tree, "go.mod")); err == nil {
			break
		}
		if tree == filepath.Dir(tree) {
			return Tools{}, errors.New("the working directory is not in the source tree")
		}
		tree = filepath.Dir(tree)
	}
	built := filepath.Join(tree, "build")
	tools := Tools{
		Nomad:    filepath.Join(built, "tools", nomad),
		Consul:   filepath.Join(built, "tools", "consul"),
		CNI:      filepath.Join(built, "tools", "cni"),
		Registry: filepath.Join(built, "tools", "registry"),
		Plugin:   filepath.Join(built, "nomad-driver-lkl"),
		Commands: filepath.Join(built, "lkl"),
		Guests:   filepath.Join(built, "guest"),
		Jobs:     filepath.Join(tree, "examples", "jobs"),
	}
	for _, path := range []string{tools.Nomad, tools.CNI, tools.Registry, tools.Plugin, tools.Commands, tools.Guests} {
		if _, err := os.Stat(path); err != nil {
			return tools, fmt.Errorf("%w: run %q first", err, "scripts/setup test")
		}
	}
	return tools, nil
}
