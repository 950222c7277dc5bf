// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
)

// measureFilter compares two guests that are connected as the driver connects them,
// each behind a veth in a separate namespace: one with the filter of its frames, and one
// that may send any frame.
func (b *testbed) measureFilter(p settings) ([]result, error) {
	defer b.stopServers()
	guest, native, err := b.compileProgram("net")
	if err != nil {
		return nil, err
	}
	empty, err := b.emptyDirectory()
	if err != nil {
		return nil, err
	}
	server := program{kernel: guest, memory: "128", files: empty, port: netPortNumber, args: []string{"serve", netPort}}
	var hosts [2]string
	for i, allowSpoofing := range []bool{false, true} {
		if hosts[i], err = b.startInAlloc(server, "l2", network.Options{AllowSpoofing: allowSpoofing}); err != nil {
			return nil, err
		}
	}
	var results []result
	for _, t := range netTests {
		var measured [2][]float64
		for round := range filterRounds * p.rounds {
			for turn := range hosts {
				i := (round + turn) % len(hosts) // neither is always the first
				rate, err := b.ratePerProcessorSecond(b.netLoad(native, t, hosts[i], p.load), b.guestPID(i))
				if err != nil {
					return nil, fmt.Errorf("load %s: %w", hosts[i], err)
				}
				measured[i] = append(measured[i], rate)
			}
		}
		r := rateResult("filter "+t.name, t.unit, measured[0], measured[1])
		r.Peer = "no filter"
		results = append(results, r)
	}
	return results, nil
}

// ratePerProcessorSecond loads a guest, and returns the rate for each second of the
// guest's processor time. Other load on the machine hardly changes it.
func (b *testbed) ratePerProcessorSecond(load *exec.Cmd, guest int) (float64, error) {
	before, err := processorTime(guest)
	if err != nil {
		return 0, err
	}
	m, err := runLoad(load)
	if err != nil {
		return 0, err
	}
	after, err := processorTime(guest)
	return m.rate * (m.to - m.from) / (after - before).Seconds(), err
}

// processorTime returns the processor time of a process, with that of ended threads.
func processorTime(pid int) (time.Duration, error) {
	const ofProcess = 2 // CPUCLOCK_SCHED: nanoseconds in which it ran
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|ofProcess), &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// filterRounds multiplies the rounds, because the differences are small.
const filterRounds = 3
