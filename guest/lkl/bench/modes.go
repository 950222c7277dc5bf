// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

// networkModes are the ways to connect a server with an alloc. All have a veth in front.
// The last is a process in the alloc.
var networkModes = []string{"l2", "shared", "host", "native"}

// modeRounds is the number of rounds. They are short, so that load by others meets all
// modes alike.
const modeRounds = 5

// A sample is a rate that a load generator has measured, and the latency if it has a unit.
type sample struct {
	name, unit, latencyUnit string
	measurement
}

// An outcome contains the measurements of a load generator, and the amount of work that it
// has caused: requests or megabytes.
type outcome struct {
	samples    []sample
	name, unit string
	work       float64
}

// A workload is a server, as a guest and as a process, and the loads for it.
type workload struct {
	guest  program
	native []string
	loads  []func(host string) (outcome, error)
}

// measureModes compares guests in the network modes with each other and with processes. It
// compares the modes shared and host with l2, and l2 with a process.
func (b *testbed) measureModes(p settings) ([]result, error) {
	if p.rounds > 1 {
		p.rounds = modeRounds
	}
	p.load = time.Second
	var results []result
	for _, prepare := range []func(settings) (workload, error){b.netWorkload, b.nginxWorkload, b.redisWorkload} {
		w, err := prepare(p)
		if err != nil {
			return nil, err
		}
		more, err := b.compareModes(w, p.rounds)
		if err != nil {
			return nil, err
		}
		results = append(results, more...)
	}
	return results, nil
}

func (b *testbed) compareModes(w workload, rounds int) ([]result, error) {
	defer b.stopServers()
	var hosts []string
	var servers []int
	for i, mode := range networkModes {
		host, err := b.startInMode(w, mode)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", mode, err)
		}
		pid := b.guestPID(i)
		if mode == "native" {
			pid = b.running[i].Process.Pid // ip netns exec execs the program
		}
		hosts, servers = append(hosts, host), append(servers, pid)
	}
	var results []result
	for _, load := range w.loads {
		var measured [][]*series // of each sample, by mode
		var kinds []sample
		for round := range rounds {
			for turn := range networkModes {
				i := (round + turn) % len(networkModes) // no mode is always the first
				samples, err := measureCost(servers[i], func() (outcome, error) { return load(hosts[i]) })
				if err != nil {
					return nil, fmt.Errorf("load the server in mode %s: %w", networkModes[i], err)
				}
				for n, s := range samples {
					if n == len(measured) {
						measured, kinds = append(measured, newSeries()), append(kinds, s)
					}
					measured[n][i].add(s.measurement)
				}
			}
		}
		for n, kind := range kinds {
			results = append(results, modeResults(kind, measured[n])...)
		}
	}
	return results, nil
}

// measureCost runs a load, and adds the work for each second of processor time that the
// server and the load generator have used. Other load on the machine hardly changes it.
func measureCost(server int, load func() (outcome, error)) ([]sample, error) {
	before, err := serverAndLoadTime(server)
	if err != nil {
		return nil, err
	}
	out, err := load()
	if err != nil {
		return nil, err
	}
	after, err := serverAndLoadTime(server)
	cost := sample{
		name: out.name + " per processor second", unit: out.unit,
		measurement: measurement{rate: out.work / (after - before).Seconds()},
	}
	return append(out.samples, cost), err
}

// serverAndLoadTime returns the processor time of a server and of all load generators that
// have ended.
func serverAndLoadTime(server int) (time.Duration, error) {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &usage); err != nil {
		return 0, err
	}
	total := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	running, err := processorTime(server)
	return total + running, err
}

func newSeries() []*series {
	list := make([]*series, len(networkModes))
	for i := range list {
		list[i] = &series{}
	}
	return list
}

// modeResults compares each mode with its peer.
func modeResults(kind sample, byMode []*series) []result {
	var results []result
	for i, mode := range networkModes[:len(networkModes)-1] {
		peer := 0 // l2
		if i == 0 {
			peer = len(networkModes) - 1
		}
		name := "modes " + mode + " " + kind.name
		list := []result{rateResult(name, kind.unit, byMode[i].rates, byMode[peer].rates)}
		if kind.latencyUnit != "" {
			list = append(list, latencyResult(name+" latency", kind.latencyUnit, byMode[i].latencies, byMode[peer].latencies))
		}
		for j := range list {
			list[j].Peer = networkModes[peer]
		}
		results = append(results, list...)
	}
	return results
}

// startInMode returns the address of the server.
func (b *testbed) startInMode(w workload, mode string) (string, error) {
	if mode != "native" {
		return b.startInAlloc(w.guest, mode, network.Options{})
	}
	a, err := b.addAlloc()
	if err != nil {
		return "", err
	}
	return a.address, b.startServer(inNamespace(a.namespace, w.native...), a.address+":"+strconv.Itoa(int(w.guest.port)))
}

func (b *testbed) netWorkload(p settings) (workload, error) {
	guest, native, err := b.compileProgram("net")
	if err != nil {
		return workload{}, err
	}
	empty, err := b.emptyDirectory()
	if err != nil {
		return workload{}, err
	}
	w := workload{
		guest:  program{kernel: guest, memory: "128", files: empty, port: netPortNumber, args: []string{"serve", netPort}},
		native: []string{native, "serve", netPort},
	}
	for _, t := range netTests {
		w.loads = append(w.loads, func(host string) (outcome, error) {
			m, err := runLoad(b.netLoad(native, t, host, p.load))
			s := sample{name: t.name, unit: t.unit, measurement: m}
			if t.latency {
				s.latencyUnit = "us"
			}
			return outcome{[]sample{s}, s.name, s.unit, m.rate * (m.to - m.from)}, err
		})
	}
	return w, nil
}

// runLoad returns the measurement of a load generator.
func runLoad(c *exec.Cmd) (measurement, error) {
	out, err := c.CombinedOutput()
	if err != nil {
		return measurement{}, fmt.Errorf("%w: %s", err, out)
	}
	return parseMeasurement(out)
}

func (b *testbed) nginxWorkload(p settings) (workload, error) {
	root, native, err := b.prepareNginx()
	if err != nil {
		return workload{}, err
	}
	w := workload{
		guest:  program{kernel: "build/guest/lkl-nginx.spt", memory: "128", files: root, port: 80},
		native: native,
	}
	for _, name := range []string{"0B", "1KiB", "100KiB"} {
		w.loads = append(w.loads, func(host string) (outcome, error) {
			rate, p50, p99, err := b.runWrk(host, name, p.load)
			s := sample{"nginx " + name, "1/s", "ms", measurement{rate: rate, p50: p50, p99: p99}}
			return outcome{[]sample{s}, s.name, s.unit, rate * p.load.Seconds()}, err
		})
	}
	return w, nil
}

func (b *testbed) redisWorkload(p settings) (workload, error) {
	w := workload{
		guest: program{
			kernel: "build/guest/lkl-redis.spt", memory: "256", files: "build/guest/lkl-redis.root",
			port: 6379, args: append([]string{"--save", `""`}, redisOptions...), // a guest cannot fork to save
		},
		native: append([]string{"redis-server", "--save", "", "--dir", b.dir}, redisOptions...),
	}
	for _, pipeline := range []int{1, 16} {
		requests := p.requests * pipeline / 2
		w.loads = append(w.loads, func(host string) (outcome, error) {
			rates, err := b.runRedisBenchmark(host, pipeline, requests)
			commands := []string{"SET", "GET"}
			out := outcome{name: fmt.Sprintf("redis -P %d", pipeline), unit: "1/s", work: float64(len(commands) * requests)}
			for _, command := range commands {
				name := fmt.Sprintf("redis %s -P %d", command, pipeline)
				out.samples = append(out.samples, sample{name: name, unit: "1/s", measurement: measurement{rate: rates[command]}})
			}
			return out, err
		})
	}
	return w, nil
}
