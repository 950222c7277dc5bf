// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// netTests are what program/net.c does, seen from the side that loads.
var netTests = []struct {
	name, what, unit string
	streams          int
	latency          bool
}{
	{name: "to the server", what: "up", unit: "MB/s", streams: 1},
	{name: "from the server", what: "down", unit: "MB/s", streams: 1},
	{name: "to the server, 8 streams", what: "up", unit: "MB/s", streams: 8},
	{name: "from the server, 8 streams", what: "down", unit: "MB/s", streams: 8},
	{name: "round trip", what: "echo", unit: "1/s", streams: 1, latency: true},
	{name: "connection", what: "connect", unit: "1/s", streams: 1, latency: true},
}

const netPort = "5001"

func (b *bench) net(p plan) ([]result, error) {
	defer b.end()
	guest, native, err := b.compile("net")
	if err != nil {
		return nil, err
	}
	empty := filepath.Join(b.dir, "net-root")
	if err := os.Mkdir(empty, 0o755); err != nil {
		return nil, err
	}
	if err := b.guest(guest, "128", empty, netPort, "serve", netPort); err != nil {
		return nil, err
	}
	guestPID := b.guestPID() // of the first that runs
	if err := b.serve(in(b.native, native, "serve", netPort), nativeAddress+":"+netPort); err != nil {
		return nil, err
	}
	sides := [2]struct {
		host string
		pid  int
	}{
		{guestAddress, guestPID},
		{nativeAddress, b.running[1].Process.Pid}, // ip netns exec becomes what it runs
	}
	var all []result
	for _, t := range netTests {
		var got [2][]measured
		var times [2]*spent
		load := func(host string) *exec.Cmd {
			return in(b.load, native, t.what, host, netPort, fmt.Sprint(p.load.Seconds()), strconv.Itoa(t.streams))
		}
		for range p.rounds {
			for i, s := range sides {
				out, err := load(s.host).CombinedOutput()
				if err != nil {
					return nil, fmt.Errorf("%s of %s: %w: %s", t.name, s.host, err, out)
				}
				m, err := parseMeasured(out)
				if err != nil {
					return nil, err
				}
				got[i] = append(got[i], m)
			}
		}
		for i, s := range sides {
			out, err := b.trace(load(s.host))
			if err != nil {
				return nil, err
			}
			m, err := parseMeasured(out)
			if err != nil {
				return nil, err
			}
			if times[i], err = b.spent(fmt.Sprintf("--pid=%d", s.pid), m.from, m.to); err != nil {
				return nil, fmt.Errorf("%s of %s: %w", t.name, s.host, err)
			}
		}
		all = append(all, results("net "+t.name, t.unit, t.latency, got, times)...)
	}
	return all, nil
}
