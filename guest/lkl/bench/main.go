// SPDX-License-Identifier: MPL-2.0

// Command bench compares redis and nginx as unikernels, behind a tap, with the
// same programs native, behind a veth: rounds of the one and the other take
// turns, in network namespaces made for it. It needs root, and runs in the tree.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
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
}

func main() {
	quick := flag.Bool("quick", false, "one short round, which leaves results.json as it is")
	sustain := flag.Duration("sustain", 0, "only keep nginx under load for so long, and print the guest's memory and latency at its start and end")
	flag.Parse()
	if err := run(*quick, *sustain); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(quick bool, sustain time.Duration) (err error) {
	for _, t := range tools {
		if _, err := exec.LookPath(t[0]); err != nil {
			return fmt.Errorf("%s is missing: install the Debian package %s", t[0], t[1])
		}
	}
	p := plan{rounds: 3, requests: 50000, load: 2 * time.Second}
	if quick {
		p = plan{rounds: 1, requests: 20000, load: time.Second}
	}
	b, err := newBench()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if sustain > 0 {
		return b.sustain(sustain)
	}
	results, err := b.redis(p)
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	more, err := b.nginx(p)
	if err != nil {
		return fmt.Errorf("nginx: %w", err)
	}
	results = append(results, more...)
	table(results)
	if quick {
		return nil
	}
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	return os.WriteFile("guest/lkl/bench/results.json", append(text, '\n'), 0o644)
}

func table(results []result) {
	load, _ := os.ReadFile("/proc/loadavg") // beside the figures, no more
	fmt.Printf("load at the end: %s", load)
	fmt.Printf("%-26s %-4s %10s %10s %10s %10s %6s\n", "", "", "p50", "p99", "native", "native p99", "ratio")
	for _, r := range results {
		fmt.Printf("%-26s %-4s %10.2f %10.2f %10.2f %10.2f %6.2f\n", r.Name, r.Unit, r.P50, r.P99, r.PeerP50, r.PeerP99, r.P50/r.PeerP50)
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
	return result{name, unit, median(guest), slices.Min(guest), "native", median(native), slices.Min(native)}
}
