// SPDX-License-Identifier: MPL-2.0

// Command bench compares programs as unikernels, behind a tap and on a disk image,
// with the same ones native, behind a veth and on the file system that the image
// lies on: redis, nginx, and two of its own that do what dd, fio and iperf do.
// Rounds of the one and the other take turns, in network namespaces made for it.
// It needs root, and runs in the tree.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// A result is a line of results.json. The percentiles of a rate are those of
// the rounds, the 99th being the slow end: what a round reaches at least. Those
// of a latency are what the load generator says, the median of the rounds.
type result struct {
	Name    string  `json:"name"`
	Unit    string  `json:"unit"`
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
	Peer    string  `json:"peer"`
	PeerP50 float64 `json:"peer_p50"`
	PeerP99 float64 `json:"peer_p99"`
	// Time is where the time goes, from a run of its own.
	Time     *spent `json:"time,omitempty"`
	PeerTime *spent `json:"peer_time,omitempty"`
}

// A plan is how long and how often is measured.
type plan struct {
	rounds, requests int
	load             time.Duration
}

// tools are the programs needed, and the Debian packages that have them.
var tools = [][2]string{
	{"ip", "iproute2"},
	{"mke2fs", "e2fsprogs"},
	{"redis-server", "redis-server"},
	{"redis-benchmark", "redis-tools"},
	{"nginx", "nginx-light"},
	{"wrk", "wrk"},
	{"gcc", "gcc"},
	{"perf", "linux-perf"},
}

// parts are what is measured, by the first word of the results' names.
var parts = []struct {
	name string
	run  func(*bench, plan) ([]result, error)
}{{"redis", (*bench).redis}, {"nginx", (*bench).nginx}, {"disk", (*bench).disk}, {"net", (*bench).net}}

const resultsFile = "guest/lkl/bench/results.json"

func main() {
	quick := flag.Bool("quick", false, "one short round, which leaves results.json as it is")
	only := flag.String("only", "", "only redis, nginx, disk or net; the results of the others stay")
	sustain := flag.Duration("sustain", 0, "only keep nginx under load for so long, and print the guest's memory and latency at its start and end")
	var g guestOptions
	flag.BoolVar(&g.offload, "offload", true, "give the guest's tap virtio headers and offloads, as the driver does")
	flag.BoolVar(&g.hugePages, "huge-pages", false, "back the guest's memory with huge pages, as a job may ask for")
	flag.Parse()
	if err := run(*quick, *only, *sustain, g); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(quick bool, only string, sustain time.Duration, g guestOptions) (err error) {
	for _, t := range tools {
		if _, err := exec.LookPath(t[0]); err != nil {
			return fmt.Errorf("%s is missing: install the Debian package %s", t[0], t[1])
		}
	}
	p := plan{rounds: 3, requests: 50000, load: 2 * time.Second}
	if quick {
		p = plan{rounds: 1, requests: 20000, load: time.Second}
	}
	b, err := newBench(g)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if sustain > 0 {
		return b.sustain(sustain)
	}
	var results []result
	for _, part := range parts {
		if only != "" && only != part.name {
			continue
		}
		more, err := part.run(b, p)
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		results = append(results, more...)
	}
	if results == nil {
		return fmt.Errorf("there is no part %q: redis, nginx, disk or net", only)
	}
	table(results)
	if quick {
		return nil
	}
	return save(results)
}

// save writes the results in the place of those of the same parts.
func save(results []result) error {
	text, err := os.ReadFile(resultsFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var old []result
	if len(text) > 0 {
		if err := json.Unmarshal(text, &old); err != nil {
			return fmt.Errorf("read %s: %w", resultsFile, err)
		}
	}
	part := func(r result) string { return strings.Fields(r.Name)[0] }
	var all []result
	for _, p := range parts {
		from := old
		if slices.ContainsFunc(results, func(r result) bool { return part(r) == p.name }) {
			from = results
		}
		for _, r := range from {
			if part(r) == p.name {
				all = append(all, r)
			}
		}
	}
	text, err = json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	return os.WriteFile(resultsFile, append(text, '\n'), 0o644)
}

func table(results []result) {
	load, _ := os.ReadFile("/proc/loadavg") // beside the figures, no more
	fmt.Printf("load at the end: %s", load)
	fmt.Printf("%-32s %-4s %10s %10s %10s %10s %6s\n", "", "", "p50", "p99", "native", "native p99", "ratio")
	for _, r := range results {
		fmt.Printf("%-32s %-4s %10.2f %10.2f %10.2f %10.2f %6.2f\n", r.Name, r.Unit, r.P50, r.P99, r.PeerP50, r.PeerP99, r.P50/r.PeerP50)
	}
	fmt.Println("\nwhere the time goes (perf, in runs of its own): the host's kernel, by what it was entered for; the process's own; waiting")
	for _, r := range results {
		if r.Time != nil {
			fmt.Printf("%-32s guest:  %s\n%-32s native: %s\n", r.Name, r.Time, "", r.PeerTime)
		}
	}
}

// median sorts the values.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// rate makes a result of the rates of rounds.
func rate(name, unit string, guest, native []float64) result {
	return result{
		Name: name, Unit: unit, P50: median(guest), P99: slices.Min(guest),
		Peer: "native", PeerP50: median(native), PeerP99: slices.Min(native),
	}
}

// latency makes a result of what the rounds say of it: medians and 99th percentiles.
func latency(name, unit string, guest50, guest99, native50, native99 []float64) result {
	return result{
		Name: name, Unit: unit, P50: median(guest50), P99: median(guest99),
		Peer: "native", PeerP50: median(native50), PeerP99: median(native99),
	}
}
