// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// diskSize is the size of the test file in MiB. It barely fits in the guest's page
// cache.
const diskSize = 128

// diskRounds is the number of disk rounds for each round of the other benchmarks:
// disk rounds are short.
const diskRounds = 3

// A diskTest is a test of program/disk.c. A new guest runs each test, with an
// empty page cache. A + in the mode lets the guest touch its memory first.
type diskTest struct {
	name, mode, unit string
	cold             bool // with an empty page cache of the host too
	latency          bool // also report the latency
}

var diskTests = []diskTest{
	{name: "write, fsync", mode: "+write", unit: "MB/s"},
	{name: "write, fsync, memory unused", mode: "write", unit: "MB/s"},
	{name: "read, cold", mode: "+read", unit: "MB/s", cold: true},
	{name: "read", mode: "+read", unit: "MB/s"},
	{name: "read, memory unused", mode: "read", unit: "MB/s"},
	{name: "read again", mode: "+reread", unit: "MB/s"},
	{name: "4K read, cold", mode: "+randread", unit: "1/s", cold: true, latency: true},
	{name: "4K read", mode: "+randread", unit: "1/s", latency: true},
	{name: "4K writes, fsync", mode: "+randwrite", unit: "1/s", latency: true},
	{name: "4K write and fsync", mode: "+fsync", unit: "1/s", latency: true},
}

// diskGuests are the variants of the guest: with the driver's options for
// rootfs_sync = "flush" and "none", and without extensions of the Solo5 ABI.
var diskGuests = []struct {
	suffix  string
	options []string
	config  string
	modes   string // of the tests to run; "" runs all
}{
	{
		"",
		[]string{"--block-transfer:rootfs=1048576", "--block-flush:rootfs"},
		`{"transfer":"1048576","flush":"1","name":"rootfs"}`,
		"",
	},
	{", no flush", []string{"--block-transfer:rootfs=1048576"}, `{"transfer":"1048576","name":"rootfs"}`, "+fsync"},
	{", ABI alone", nil, "", "+write +read +randread"},
}

// A measurement is the result line of a test program: see program/measure.h.
type measurement struct{ rate, p50, p99, from, to float64 }

func parseMeasurement(out []byte) (m measurement, err error) {
	for line := range strings.Lines(string(out)) {
		if n, _ := fmt.Sscanf(line, "result %f %f %f %f %f", &m.rate, &m.p50, &m.p99, &m.from, &m.to); n == 5 {
			return m, nil
		}
	}
	return m, fmt.Errorf("no result line in %q", out)
}

// compileProgram compiles a test program as a guest and for the host.
func (b *testbed) compileProgram(name string, flags ...string) (guest, native string, err error) {
	source := filepath.Join("guest/lkl/bench/program", name+".c")
	guest, native = filepath.Join(b.dir, name+".spt"), filepath.Join(b.dir, name)
	for _, c := range []*exec.Cmd{
		exec.Command("build/guest/lkl-cc", append(flags, "-std=gnu11", "-O2", "-o", guest, source)...),
		exec.Command("gcc", "-std=gnu11", "-O2", "-pthread", "-o", native, source),
	} {
		if out, err := c.CombinedOutput(); err != nil {
			return "", "", fmt.Errorf("%s: %w: %s", c, err, out)
		}
	}
	return guest, native, nil
}

func (b *testbed) measureDisk(p settings) ([]result, error) {
	guest, native, err := b.compileProgram("disk", "-manifest", "guest/lkl/bench/program/disk.json")
	if err != nil {
		return nil, err
	}
	image, file, empty := filepath.Join(b.dir, "disk.ext4"), filepath.Join(b.dir, "file"), filepath.Join(b.dir, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		return nil, err
	}
	if err := makeImage(image, "512M", empty); err != nil {
		return nil, err
	}
	var results []result
	for _, g := range diskGuests {
		run := append(append(b.options.runArgs("192"), "--block:rootfs="+image), g.options...)
		run = append(run, "--", guest, "--config", "'{\"disks\":["+g.config+"]}'", "--")
		for _, t := range diskTests {
			if g.modes != "" && !slices.Contains(strings.Fields(g.modes), t.mode) {
				continue
			}
			args := func(f string) []string { return []string{t.mode, f, strconv.Itoa(diskSize)} }
			sides := [2]side{
				{exec.Command(run[0], append(run[1:], args("/file")...)...), image, "spt-guest"},
				{exec.Command(native, args(file)...), file, "disk"},
			}
			t.name += g.suffix
			more, err := b.compareDisk(t, diskRounds*p.rounds, sides)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.name, err)
			}
			results = append(results, more...)
		}
	}
	return results, nil
}

// A side is the guest or the native process.
type side struct {
	command *exec.Cmd
	file    string // that stores its data on the host
	process string // name of the process
}

// compareDisk runs a test for some rounds on both sides in turn, and once more
// under perf.
func (b *testbed) compareDisk(t diskTest, rounds int, sides [2]side) ([]result, error) {
	var measured [2]series
	for round := range rounds + 1 {
		for i, s := range sides {
			if err := syncFile(s.file, t.cold); err != nil {
				return nil, err
			}
			c := exec.Command(s.command.Args[0], s.command.Args[1:]...)
			if round == rounds {
				var err error
				if measured[i].profile, err = b.profileCommand(c, "--comm="+s.process); err != nil {
					return nil, err
				}
				continue
			}
			out, err := c.Output()
			if err != nil {
				return nil, fmt.Errorf("%s: %w: %s", c, err, out)
			}
			m, err := parseMeasurement(out)
			if err != nil {
				return nil, err
			}
			measured[i].add(m)
		}
	}
	return makeResults("disk "+t.name, t.unit, t.latency, measured), nil
}

// A series contains the measurements of one side.
type series struct {
	rates     []float64
	latencies latencies
	profile   *profile
}

func (s *series) add(m measurement) {
	s.rates = append(s.rates, m.rate)
	s.latencies.p50 = append(s.latencies.p50, m.p50)
	s.latencies.p99 = append(s.latencies.p99, m.p99)
}

// makeResults returns the result for the rate of a test, and optionally the one
// for its latency.
func makeResults(name, unit string, withLatency bool, sides [2]series) []result {
	guest, native := sides[0], sides[1]
	r := rateResult(name, unit, guest.rates, native.rates)
	r.Time, r.PeerTime = guest.profile, native.profile
	if !withLatency {
		return []result{r}
	}
	return []result{r, latencyResult(name+" latency", "us", guest.latencies, native.latencies)}
}

// syncFile writes a file back to disk, and optionally drops it from the host's
// page cache.
func syncFile(path string, cold bool) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	if !cold {
		return nil
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("drop %s from the page cache: %w", path, err)
	}
	return nil
}
