// SPDX-License-Identifier: MPL-2.0

// Bench measures what it costs to start a task and to keep it: the plugin as
// it is built, through Nomad's plugin protocol as an agent uses it, beside
// Nomad's own raw_exec driver, which an agent has in its own process. Both run
// in the same control groups, on the same machine, in the same run.
//
// It prints a table and writes the same to bench/results.json. It is a module
// of its own, so that the plugin does not depend on what raw_exec does.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	// raw_exec runs its tasks in this program, started anew with the argument
	// "executor": the import takes over before main.
	_ "github.com/hashicorp/nomad/drivers/shared/executor"
)

// A row is one figure of the driver's beside that of raw_exec.
type row struct {
	Name    string  `json:"name"`
	Unit    string  `json:"unit"`
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
	Peer    string  `json:"peer"`
	PeerP50 float64 `json:"peer_p50"`
	PeerP99 float64 `json:"peer_p99"`

	goal string // for the table
}

func main() {
	starts := flag.Int("starts", 100, "tasks to start one after the other, for each figure of time")
	tasks := flag.Int("tasks", 20, "tasks to keep at the same time, for the figures of memory")
	flag.Parse()
	if err := run(*starts, *tasks, ""); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures and writes the results to a file, "" for that in the tree.
func run(starts, tasks int, results string) error {
	if os.Geteuid() != 0 {
		return errors.New("tasks need control groups: run it as root")
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
	rows, err := b.measure(starts, tasks)
	if err != nil {
		return err
	}
	show(rows)
	if results == "" {
		results = filepath.Join(tree, "bench", "results.json")
	}
	return write(results, rows)
}

// findTree is the root of the source tree, from wherever in it.
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
			return "", errors.New("run it in the source tree")
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

func write(path string, rows []row) error {
	content, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o644)
}
