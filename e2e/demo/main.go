// SPDX-License-Identifier: MPL-2.0

// Demo shows the driver at work: it starts a real Nomad agent in a sandbox, runs
// the main example as an operator would, shows what Nomad says of it, stops it
// and looks for anything left behind. It exits 0 only if all of that went well.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/cluster"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv/sandbox"
)

func main() { os.Exit(sandbox.Run(run)) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	began := time.Now()
	err := demonstrate(ctx)
	switch {
	case err == nil:
		fmt.Printf("\nAll of it worked, in %s. The README explains the job file and goes on from here.\n", spent(began))
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\ninterrupted: everything that was started has been removed")
		return sandbox.Interrupted
	default:
		fmt.Fprintln(os.Stderr, "\nthe demonstration failed:", err)
		return 1
	}
}

func demonstrate(ctx context.Context) (err error) {
	tools, err := cluster.FindTools("agent")
	if err != nil {
		return err
	}
	d := &demo{ctx: ctx, tools: tools}
	defer func() { err = errors.Join(err, d.end()) }()
	steps := []struct {
		title string
		run   func() error
	}{
		{"A Nomad agent, in a network of its own", d.startAgent},
		{"The plugin is fingerprinted", d.showFingerprint},
		{"A job runs a unikernel", d.runJob},
		{"Its console is the task's log", d.showLogs},
		{"It answers through the mapped port", d.request},
		{"What it uses", d.showStats},
		{"Stop it", d.stopJob},
		{"Nothing is left behind", d.findLeftovers},
	}
	for i, step := range steps {
		fmt.Printf("\n%d/%d  %s\n", i+1, len(steps), step.title)
		began := time.Now()
		if err := step.run(); err != nil {
			return fmt.Errorf("step %d, %q: %w", i+1, step.title, err)
		}
		fmt.Printf("     (%s)\n", spent(began))
	}
	return nil
}

func spent(since time.Time) string { return fmt.Sprintf("%.1f s", time.Since(since).Seconds()) }
