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

	"github.com/shoenig/test/wait"
)

// Tools are the paths of the programs and files of a test run.
type Tools struct {
	Nomad  string // agent and command
	Consul string // agent
	CNI    string // directory of the CNI plugins
	Plugin string // the driver
	Guests string // directory of the built unikernels
	Jobs   string // directory of the example jobs
}

// FindTools finds the files that scripts/setup and make have put into the source
// tree around the working directory. nomad is the name of the agent in build/tools.
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

// Final marks an error of a condition after which Until stops waiting.
func Final(err error) error { return final{err} }

type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Until is must.Wait for code that is not a test, and that a context can end. It
// calls condition until the condition returns nil or a Final error, or until the
// time is over.
func Until(ctx context.Context, limit time.Duration, condition func() error) error {
	var err error
	timeout := wait.InitialSuccess(wait.Timeout(limit), wait.Gap(50*time.Millisecond), wait.BoolFunc(func() bool {
		if err = ctx.Err(); err != nil {
			return true
		}
		err = condition()
		return err == nil || errors.As(err, &final{})
	})).Run()
	if timeout != nil {
		return fmt.Errorf("%w after %s: %w", timeout, limit, err)
	}
	return err
}
