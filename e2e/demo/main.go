// SPDX-License-Identifier: MPL-2.0

// Demo demonstrates the driver. It starts a Nomad agent and a registry in a sandbox, and
// pushes an image of nginx. Then it runs the nginx example as an operator would, and shows
// Nomad's view of the job. Finally it stops the job, and checks that nothing is left
// behind. It exits with 0 only if all steps succeed.
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
		fmt.Printf("\nDone in %s. The README explains the job file.\n", seconds(began))
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\ninterrupted: all processes are stopped and all files removed")
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
	defer func() { err = errors.Join(err, d.stopServers()) }()
	steps := []struct {
		title string
		run   func() error
	}{
		{"Start a Nomad agent and a registry in a sandbox", d.startServers},
		{"Show the fingerprint of the driver", d.showFingerprint},
		{"Build an image of nginx and push it", d.pushImage},
		{"Run a job with the image", d.runJob},
		{"Show the log of the task", d.showLogs},
		{"Send a request to the mapped port", d.request},
		{"Show the resources that the task uses", d.showStats},
		{"Stop the job", d.stopJob},
		{"Check that nothing is left behind", d.findLeftovers},
	}
	for i, step := range steps {
		fmt.Printf("\n%d/%d  %s\n", i+1, len(steps), step.title)
		began := time.Now()
		if err := step.run(); err != nil {
			return fmt.Errorf("step %d, %q: %w", i+1, step.title, err)
		}
		fmt.Printf("     (%s)\n", seconds(began))
	}
	return nil
}

func seconds(since time.Time) string { return fmt.Sprintf("%.1f s", time.Since(since).Seconds()) }
