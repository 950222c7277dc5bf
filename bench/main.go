// SPDX-License-Identifier: MPL-2.0

// Bench measures the start time and the memory of tasks, and compares them with
// Nomad's raw_exec driver. It runs the built plugin through Nomad's plugin protocol,
// as an agent does. It runs raw_exec in its own process, as an agent does. Both use
// the same control groups in the same run. It also measures the commands for a shell, and
// the steps that make a root disk from an OCI image.
//
// It prints a table and writes bench/results.json. It is a separate module, so that
// the plugin does not depend on raw_exec.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	// raw_exec starts this program again, with the argument "executor". The import
	// then takes over before main.
	_ "github.com/hashicorp/nomad/drivers/shared/executor"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/measure"
)

// A row is a figure with its goal for the table.
type row struct {
	measure.Figure
	goal string
}

func main() {
	starts := flag.Int("starts", 100, "number of tasks to start, one after the other, for each time")
	tasks := flag.Int("tasks", 20, "number of tasks that run at the same time, for the memory")
	files := flag.Int("files", 5000, "number of files in the layer that is converted to a root disk")
	only := flag.String("only", "", `"images" or "commands" measures only the root disks or the commands for a shell, and writes no results`)
	flag.Parse()
	var err error
	switch *only {
	case "images":
		err = runImages(*starts, *files)
	case "commands":
		err = runCommands(*starts)
	default:
		err = run(options{*starts, *tasks, *files}, "")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are numbers of tasks and files to measure.
type options struct{ starts, tasks, files int }

// run measures, prints the results, and writes them to a file. The default for "" is
// bench/results.json.
func run(o options, results string) error {
	if os.Geteuid() != 0 {
		return errors.New("run the benchmark as root: tasks need control groups")
	}
	tree, err := findTree()
	if err != nil {
		return err
	}
	b, err := newBench(tree)
	if err != nil {
		return err
	}
	defer b.close()
	rows, err := b.measure(o.starts, o.tasks)
	if err != nil {
		return err
	}
	images, err := imageSteps(b.dir, o.starts, o.files)
	if err != nil {
		return err
	}
	rows = append(rows, images...)
	show(rows)
	if results == "" {
		results = filepath.Join(tree, "bench", "results.json")
	}
	return measure.WriteJSON(results, rows)
}

// runImages measures and prints the steps that make a root disk from an image.
func runImages(starts, files int) error {
	dir, err := os.MkdirTemp("", "lkl-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	rows, err := imageSteps(dir, starts, files)
	show(rows)
	return err
}

// findTree returns the root of the source tree around the working directory.
func findTree() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "GNUmakefile")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("run the benchmark in the source tree")
		}
	}
}

func show(rows []row) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tunit\tp50\tp99\tgoal\tpeer\tp50\tp99")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%.2f\t%.2f\t%s\t%s\t%.2f\t%.2f\n",
			r.Name, r.Unit, r.P50, r.P99, r.goal, r.Peer, r.PeerP50, r.PeerP99)
	}
	_ = w.Flush()
}
