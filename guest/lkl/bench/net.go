// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// A netTest is a test of program/net.c.
type netTest struct {
	name, mode, unit string
	streams          int
	latency          bool // also report the latency
}

var netTests = []netTest{
	{name: "to the server", mode: "up", unit: "MB/s", streams: 1},
	{name: "from the server", mode: "down", unit: "MB/s", streams: 1},
	{name: "to the server, 8 streams", mode: "up", unit: "MB/s", streams: 8},
	{name: "from the server, 8 streams", mode: "down", unit: "MB/s", streams: 8},
	{name: "round trip", mode: "echo", unit: "1/s", streams: 1, latency: true},
	{name: "connection", mode: "connect", unit: "1/s", streams: 1, latency: true},
}

const (
	netPortNumber = 5001
	netPort       = "5001"
)

// netLoad returns the command that loads the server on a host.
func (b *testbed) netLoad(native string, t netTest, host string, d time.Duration) *exec.Cmd {
	return inNamespace(b.loadNS, native, t.mode, host, netPort, fmt.Sprint(d.Seconds()), strconv.Itoa(t.streams))
}

// A netServer is the server in the guest or the native one.
type netServer struct {
	host string
	pid  int
}

func (b *testbed) measureNet(p settings) ([]result, error) {
	defer b.stopServers()
	guest, native, err := b.compileProgram("net")
	if err != nil {
		return nil, err
	}
	empty, err := b.emptyDirectory()
	if err != nil {
		return nil, err
	}
	if err := b.startGuest(guestMachine{guest, "128", empty, "128M"}, netPort, "serve", netPort); err != nil {
		return nil, err
	}
	guestServer := netServer{guestAddress, b.guestPID(0)}
	if err := b.startServer(inNamespace(b.nativeNS, native, "serve", netPort), nativeAddress+":"+netPort); err != nil {
		return nil, err
	}
	// ip netns exec execs the program, so its PID is that of the server.
	nativeServer := netServer{nativeAddress, b.running[1].Process.Pid}
	var results []result
	for _, t := range netTests {
		load := func(host string) *exec.Cmd { return b.netLoad(native, t, host, p.load) }
		measured, err := b.compareNet(load, p.rounds, [2]netServer{guestServer, nativeServer})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		results = append(results, makeResults("net "+t.name, t.unit, t.latency, measured)...)
	}
	return results, nil
}

// compareNet loads both servers in turn for some rounds, and once more under
// perf. load returns the command that loads the server on a host.
func (b *testbed) compareNet(load func(host string) *exec.Cmd, rounds int, servers [2]netServer) (measured [2]series, err error) {
	for range rounds {
		for i, s := range servers {
			out, err := load(s.host).CombinedOutput()
			if err != nil {
				return measured, fmt.Errorf("load %s: %w: %s", s.host, err, out)
			}
			m, err := parseMeasurement(out)
			if err != nil {
				return measured, err
			}
			measured[i].add(m)
		}
	}
	for i, s := range servers {
		if measured[i].profile, err = b.profileCommand(load(s.host), fmt.Sprintf("--pid=%d", s.pid)); err != nil {
			return measured, fmt.Errorf("load %s: %w", s.host, err)
		}
	}
	return measured, nil
}
