// SPDX-License-Identifier: MPL-2.0

// Package cluster starts real Nomad and Consul agents with the plugin under
// test, for the end-to-end tests and the demonstration.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Tools are the programs and files of a run, by absolute path.
type Tools struct {
	Nomad  string // the agent and command
	Consul string // its agent
	CNI    string // the directory of CNI plugins
	Plugin string // the driver's binary
	Guests string // the directory of the small unikernels
	Jobs   string // the directory of the example jobs
}

// FindTools looks in the source tree, which the working directory is in, for
// what scripts/setup and make put there; nomad is the agent's name in
// build/tools.
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
			return Tools{}, errors.New("not inside the source tree")
		}
		tree = filepath.Dir(tree)
	}
	built := filepath.Join(tree, "build")
	tools := Tools{
		Nomad:  filepath.Join(built, "tools", nomad),
		Consul: filepath.Join(built, "tools", "consul"),
		CNI:    filepath.Join(built, "tools", "cni"),
		Plugin: filepath.Join(built, "nomad-driver-lkl"),
		Guests: filepath.Join(built, "guest"),
		Jobs:   filepath.Join(tree, "examples", "jobs"),
	}
	for _, path := range []string{tools.Nomad, tools.CNI, tools.Plugin, tools.Guests} {
		if _, err := os.Stat(path); err != nil {
			return tools, fmt.Errorf("%w: run %q first", err, "scripts/setup test")
		}
	}
	return tools, nil
}

// Final makes an error of a condition the last: there is no use in waiting.
func Final(err error) error { return final{err} }

type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Until calls condition until it returns nil or a Final error, at most for the
// time given, and returns its last error when that is over or ctx is done.
func Until(ctx context.Context, limit time.Duration, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil || errors.As(err, &final{}) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w, waiting at most %s: %w", ctx.Err(), limit, err)
		}
	}
}
