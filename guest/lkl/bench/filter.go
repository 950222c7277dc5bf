// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

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
	if err := os.Mkdir(filepath.Join(b.dir, "filter-root"), 0o755); err != nil {
		return nil, err
	}
	var hosts [2]string
	for i, allowSpoofing := range []bool{false, true} {
		a := alloc{
			namespace: fmt.Sprintf("%s-%d", b.loadNS, i), port: fmt.Sprintf("f%d", i),
			gateway: fmt.Sprintf("10.9.%d.1", 2+i), address: fmt.Sprintf("10.9.%d.2", 2+i),
		}
		if err := b.startInAlloc(a, guest, allowSpoofing); err != nil {
			return nil, err
		}
		hosts[i] = a.address
	}
	var results []result
	for _, t := range netTests {
		var measured [2][]float64
		for round := range filterRounds * p.rounds {
			for turn := range hosts {
				i := (round + turn) % len(hosts) // neither is always the first
				load := inNamespace(b.loadNS, native, t.mode, hosts[i], netPort, fmt.Sprint(p.load.Seconds()), strconv.Itoa(t.streams))
				rate, err := b.ratePerProcessorSecond(load, b.guestPID(i))
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
	out, err := load.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	m, err := parseMeasurement(out)
	if err != nil {
		return 0, err
	}
	after, err := processorTime(guest)
	return m.rate * (m.to - m.from) / (after - before).Seconds(), err
}

// processorTime returns the processor time of a guest, which has a single thread.
func processorTime(guest int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", guest))
	if err != nil {
		return 0, err
	}
	var running int64
	_, err = fmt.Sscan(string(text), &running)
	return time.Duration(running), err
}

// filterRounds multiplies the rounds, because the differences are small.
const filterRounds = 3

// An alloc is a network namespace with an address behind a veth, as CNI makes it.
type alloc struct {
	namespace, port  string
	gateway, address string
}

// startInAlloc makes the alloc and starts a guest in it, which takes the alloc's address.
func (b *testbed) startInAlloc(a alloc, kernel string, allowSpoofing bool) error {
	b.allocNS = append(b.allocNS, a.namespace)
	for _, args := range []string{
		"netns add " + a.namespace,
		"-n " + b.loadNS + " link add " + a.port + " type veth peer name eth0 netns " + a.namespace,
		"-n " + b.loadNS + " addr add " + a.gateway + "/24 dev " + a.port, "-n " + b.loadNS + " link set " + a.port + " up",
		"-n " + a.namespace + " addr add " + a.address + "/24 dev eth0", "-n " + a.namespace + " link set eth0 up",
		"-n " + a.namespace + " route add default via " + a.gateway,
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	tap, err := network.AttachL2("/run/netns/"+a.namespace, network.Options{
		Offload: b.options.offload, AllowSpoofing: allowSpoofing,
	})
	if err != nil {
		return err
	}
	defer func() { _ = tap.Close() }()
	root := filepath.Join(b.dir, a.namespace+".ext4")
	if err := makeImage(root, "16M", filepath.Join(b.dir, "filter-root")); err != nil {
		return err
	}
	control, err := controlDevice()
	if err != nil {
		return err
	}
	defer control.Close()
	run := append(b.options.runArgs("128"), "--net:tap=@3", "--net:control=@4", "--net-mac:tap="+tap.MAC.String(), "--block:rootfs="+root)
	run = append(run, b.options.offloadArgs()...)
	config := fmt.Sprintf(`'{"interfaces":[{"name":"tap","ip":%q,"masklen":"24","mac":%q,"offload":"%d"}],"gateway":%q}'`,
		a.address, tap.MAC.String(), b.options.offloadValue(), a.gateway)
	c := exec.Command(run[0], append(run[1:], "--", kernel, "--config", config, "--", "serve", netPort)...)
	c.ExtraFiles = []*os.File{tap.File, control}
	return b.startServer(c, a.address+":"+netPort)
}
