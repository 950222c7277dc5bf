// SPDX-License-Identifier: MPL-2.0

// Command bench compares programs in unikernels with the same programs as native
// processes: redis, nginx, and two test programs similar to dd, fio and iperf.
// Guests have a tap and a disk image; native processes have a veth and the file
// system that stores the image. Rounds alternate between guest and native, in
// private network namespaces. The command needs root, and must run in the root
// directory of the repository.
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

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/measure"
)

// A result is a line of results.json. For a rate, P50 is the median of the rounds,
// and P99 the rate of the slowest round. For a latency, both are the medians over
// the rounds of the percentiles that the load generator reports.
type result struct {
	measure.Figure
	// Time and PeerTime come from a separate run under perf.
	Time     *profile `json:"time,omitempty"`
	PeerTime *profile `json:"peer_time,omitempty"`
}

// Settings determine the duration of a benchmark.
type settings struct {
	rounds   int
	requests int           // of redis-benchmark in a round, without pipelining
	load     time.Duration // of other loads in a round
}

// tools are the required programs, with the Debian packages that contain them.
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

// benchmarks are all benchmarks. The names of their results begin with the name
// of the benchmark.
var benchmarks = []struct {
	name string
	run  func(*testbed, settings) ([]result, error)
}{
	{"redis", (*testbed).measureRedis},
	{"nginx", (*testbed).measureNginx},
	{"disk", (*testbed).measureDisk},
	{"net", (*testbed).measureNet},
	{"filter", (*testbed).measureFilter},
}

const resultsFile = "guest/lkl/bench/results.json"

func main() {
	quick := flag.Bool("quick", false, "run one short round, and leave results.json unchanged")
	only := flag.String("only", "", "run one benchmark, redis, nginx, disk, net or filter, and keep the results of the others")
	sustain := flag.Duration("sustain", 0, "only keep nginx under load for this `duration`, and print the guest's memory and latency during it")
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
			return fmt.Errorf("%s not found: install the Debian package %s", t[0], t[1])
		}
	}
	p := settings{rounds: 3, requests: 50000, load: 2 * time.Second}
	if quick {
		p = settings{rounds: 1, requests: 20000, load: time.Second}
	}
	b, err := newTestbed(g)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if sustain > 0 {
		return b.sustain(sustain)
	}
	var results []result
	for _, benchmark := range benchmarks {
		if only != "" && only != benchmark.name {
			continue
		}
		more, err := benchmark.run(b, p)
		if err != nil {
			return fmt.Errorf("%s: %w", benchmark.name, err)
		}
		results = append(results, more...)
	}
	if results == nil {
		return fmt.Errorf("unknown benchmark %q: must be redis, nginx, disk, net or filter", only)
	}
	printTable(results)
	if quick {
		return nil
	}
	return saveResults(results)
}

// saveResults replaces the results of the same benchmarks in results.json.
func saveResults(results []result) error {
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
	var all []result
	for _, benchmark := range benchmarks {
		belongs := func(r result) bool { return strings.Fields(r.Name)[0] == benchmark.name }
		from := old
		if slices.ContainsFunc(results, belongs) {
			from = results
		}
		for _, r := range from {
			if belongs(r) {
				all = append(all, r)
			}
		}
	}
	return measure.WriteJSON(resultsFile, all)
}

func printTable(results []result) {
	load, _ := os.ReadFile("/proc/loadavg") // for information only
	fmt.Printf("load at the end: %s", load)
	fmt.Printf("%-32s %-4s %10s %10s %10s %10s %6s\n", "", "", "p50", "p99", "native", "native p99", "ratio")
	for _, r := range results {
		fmt.Printf("%-32s %-4s %10.2f %10.2f %10.2f %10.2f %6.2f\n", r.Name, r.Unit, r.P50, r.P99, r.PeerP50, r.PeerP99, r.P50/r.PeerP50)
	}
	fmt.Println("\ndistribution of time (from separate runs under perf): host kernel by reason of entry, user code (own), waiting")
	for _, r := range results {
		if r.Time != nil {
			fmt.Printf("%-32s guest:  %s\n%-32s native: %s\n", r.Name, r.Time, "", r.PeerTime)
		}
	}
}

// rateResult makes a result from the rates of the rounds.
func rateResult(name, unit string, guest, native []float64) result {
	return result{Figure: measure.Figure{
		Name: name, Unit: unit, P50: measure.Median(guest), P99: slices.Min(guest),
		Peer: "native", PeerP50: measure.Median(native), PeerP99: slices.Min(native),
	}}
}

// latencies are the percentiles that the load generator reported in each round.
type latencies struct{ p50, p99 []float64 }

// latencyResult makes a result from the latencies of the rounds.
func latencyResult(name, unit string, guest, native latencies) result {
	return result{Figure: measure.Figure{
		Name: name, Unit: unit, P50: measure.Median(guest.p50), P99: measure.Median(guest.p99),
		Peer: "native", PeerP50: measure.Median(native.p50), PeerP99: measure.Median(native.p99),
	}}
}
