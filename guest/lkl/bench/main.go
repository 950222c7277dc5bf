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
	"runtime"
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

// packages are the Debian packages that contain the required programs.
var packages = map[string]string{
	"ip": "iproute2", "mke2fs": "e2fsprogs", "redis-server": "redis-server", "redis-benchmark": "redis-tools",
	"nginx": "nginx-light", "wrk": "wrk", "gcc": "gcc", "perf": "linux-perf", "python3": "python3",
}

// A benchmark measures some results, whose names begin with its name.
type benchmark struct {
	name  string
	tools []string // in addition to ip and mke2fs
	run   func(*testbed, settings) ([]result, error)
}

// benchmarks are all benchmarks.
var benchmarks = []benchmark{
	{"redis", []string{"redis-server", "redis-benchmark"}, (*testbed).measureRedis},
	{"nginx", []string{"nginx", "wrk"}, (*testbed).measureNginx},
	{"disk", []string{"gcc", "perf"}, (*testbed).measureDisk},
	{"files", []string{"gcc"}, (*testbed).measureFiles},
	{"memory", []string{"gcc"}, (*testbed).measureMemory},
	{"python", []string{"python3"}, (*testbed).measurePython},
	{"net", []string{"gcc", "perf"}, (*testbed).measureNet},
	{"filter", []string{"gcc"}, (*testbed).measureFilter},
	{"modes", []string{"gcc", "nginx", "wrk", "redis-server", "redis-benchmark"}, (*testbed).measureModes},
}

// choose returns the benchmark of a name, or all of them without a name.
func choose(name string) ([]benchmark, error) {
	var names []string
	for _, b := range benchmarks {
		if b.name == name {
			return []benchmark{b}, nil
		}
		names = append(names, b.name)
	}
	if name != "" {
		return nil, fmt.Errorf("unknown benchmark %q: must be one of %s", name, strings.Join(names, ", "))
	}
	return benchmarks, nil
}

// checkTools fails if a program is missing.
func checkTools(chosen []benchmark) error {
	tools := []string{"ip", "mke2fs"}
	for _, b := range chosen {
		tools = append(tools, b.tools...)
	}
	for _, t := range tools {
		if _, err := exec.LookPath(t); err != nil {
			return fmt.Errorf("%s not found: install the Debian package %s", t, packages[t])
		}
	}
	return nil
}

const resultsFile = "guest/lkl/bench/results.json"

func main() {
	// Servers end with the thread that starts them (Pdeathsig). Threads that change the
	// namespace end early, but this one does not.
	runtime.LockOSThread()
	quick := flag.Bool("quick", false, "run one short round, and leave results.json unchanged")
	only := flag.String("only", "", "run one `benchmark`, redis, nginx, disk, files, memory, python, net, filter or modes (network modes), and keep the results of the others")
	sustain := flag.Duration("sustain", 0, "only keep nginx under load for this `duration`, and print the guest's memory and latency during it")
	churn := flag.Duration("churn", 0, "only fill and empty redis for this `duration`, and print failures and the worst latency")
	var g guestOptions
	flag.BoolVar(&g.offload, "offload", true, "give the guest's tap virtio headers and offloads, as the driver does")
	flag.BoolVar(&g.hugePages, "huge-pages", false, "back the guest's memory with huge pages, as a job may ask for")
	flag.Parse()
	if err := run(*quick, *only, *sustain, *churn, g); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(quick bool, only string, sustain, churn time.Duration, g guestOptions) (err error) {
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	if sustain > 0 {
		chosen = []benchmark{{tools: []string{"nginx", "wrk"}}}
	}
	if err := checkTools(chosen); err != nil {
		return err
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
	if churn > 0 {
		return b.churn(churn)
	}
	var results []result
	for _, benchmark := range chosen {
		more, err := benchmark.run(b, p)
		if err != nil {
			return fmt.Errorf("%s: %w", benchmark.name, err)
		}
		results = append(results, more...)
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
	fmt.Printf("%-58s %-4s %10s %10s %10s %10s %6s  %s\n", "", "", "p50", "p99", "peer", "peer p99", "ratio", "peer")
	for _, r := range results {
		fmt.Printf("%-58s %-4s %10.2f %10.2f %10.2f %10.2f %6.2f  %s\n",
			r.Name, r.Unit, r.P50, r.P99, r.PeerP50, r.PeerP99, r.P50/r.PeerP50, r.Peer)
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
