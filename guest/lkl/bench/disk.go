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

// diskSize is that of the file that is read and written, in MiB. The guest has
// room for all of it in its cache, and hardly more.
const diskSize = 128

// diskRounds is how many rounds are taken for one of the others: they are short.
const diskRounds = 3

// diskTests are what program/disk.c does. The guest starts for each, with
// nothing in its cache; cold is without anything in the host's either. With a +
// the guest has used its memory before.
var diskTests = []struct {
	name, what, unit string
	cold, latency    bool
}{
	{name: "write, fsync", what: "+write", unit: "MB/s"},
	{name: "write, fsync, memory unused", what: "write", unit: "MB/s"},
	{name: "read, cold", what: "+read", unit: "MB/s", cold: true},
	{name: "read", what: "+read", unit: "MB/s"},
	{name: "read, memory unused", what: "read", unit: "MB/s"},
	{name: "read again", what: "+reread", unit: "MB/s"},
	{name: "4K read, cold", what: "+randread", unit: "1/s", cold: true, latency: true},
	{name: "4K read", what: "+randread", unit: "1/s", latency: true},
	{name: "4K writes, fsync", what: "+randwrite", unit: "1/s", latency: true},
	{name: "4K write and fsync", what: "+fsync", unit: "1/s", latency: true},
}

// diskGuests are the guest as the driver runs it with rootfs_sync = "flush" and
// "none", and as a tender of Solo5's does.
var diskGuests = []struct {
	suffix  string
	options []string
	config  string
	tests   string // by what they do; all if it is empty
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

// A measured is a line of a program's.
type measured struct{ rate, p50, p99, from, to float64 }

func parseMeasured(out []byte) (m measured, err error) {
	for line := range strings.Lines(string(out)) {
		if n, _ := fmt.Sscanf(line, "result %f %f %f %f %f", &m.rate, &m.p50, &m.p99, &m.from, &m.to); n == 5 {
			return m, nil
		}
	}
	return m, fmt.Errorf("no result in %q", out)
}

// compile makes a program of ours for the guest and for the host.
func (b *bench) compile(name string, flags ...string) (guest, native string, err error) {
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

func (b *bench) disk(p plan) ([]result, error) {
	guest, native, err := b.compile("disk", "-manifest", "guest/lkl/bench/program/disk.json")
	if err != nil {
		return nil, err
	}
	image, file, empty := filepath.Join(b.dir, "disk.ext4"), filepath.Join(b.dir, "file"), filepath.Join(b.dir, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		return nil, err
	}
	if err := makeRoot(image, "512M", empty); err != nil {
		return nil, err
	}
	var results []result
	for _, g := range diskGuests {
		words := append(append(b.options.words("192"), "--block:rootfs="+image), g.options...)
		words = append(words, "--", guest, "--config", "'{\"disks\":["+g.config+"]}'", "--")
		for _, t := range diskTests {
			if g.tests != "" && !slices.Contains(strings.Fields(g.tests), t.what) {
				continue
			}
			args := func(f string) []string { return []string{t.what, f, strconv.Itoa(diskSize)} }
			sides := [2]side{
				{exec.Command(words[0], append(words[1:], args("/file")...)...), image, "spt-guest"},
				{exec.Command(native, args(file)...), file, "disk"},
			}
			more, err := b.compareDisk("disk "+t.name+g.suffix, t.unit, diskRounds*p.rounds, t.cold, t.latency, sides)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.name, err)
			}
			results = append(results, more...)
		}
	}
	return results, nil
}

// A side is the guest or native: what is run, what it has its bytes in, and the
// name of its process.
type side struct {
	command *exec.Cmd
	file    string
	process string
}

func (b *bench) compareDisk(name, unit string, rounds int, cold, withLatency bool, sides [2]side) ([]result, error) {
	var got [2][]measured
	var times [2]*spent
	for round := range rounds + 1 {
		for i, s := range sides {
			if err := settle(s.file, cold); err != nil {
				return nil, err
			}
			c := exec.Command(s.command.Args[0], s.command.Args[1:]...)
			if round == rounds { // for the trace alone
				out, err := b.trace(c)
				if err != nil {
					return nil, err
				}
				m, err := parseMeasured(out)
				if err != nil {
					return nil, err
				}
				if times[i], err = b.spent("--comm="+s.process, m.from, m.to); err != nil {
					return nil, err
				}
				continue
			}
			out, err := c.Output()
			if err != nil {
				return nil, fmt.Errorf("%s: %w: %s", c, err, out)
			}
			m, err := parseMeasured(out)
			if err != nil {
				return nil, err
			}
			got[i] = append(got[i], m)
		}
	}
	return results(name, unit, withLatency, got, times), nil
}

// results are the lines of one test: its rate, and if wanted its latency.
func results(name, unit string, withLatency bool, got [2][]measured, times [2]*spent) []result {
	column := func(i int, of func(measured) float64) (list []float64) {
		for _, m := range got[i] {
			list = append(list, of(m))
		}
		return list
	}
	rates := func(m measured) float64 { return m.rate }
	first := rate(name, unit, column(0, rates), column(1, rates))
	first.Time, first.PeerTime = times[0], times[1]
	if !withLatency {
		return []result{first}
	}
	p50, p99 := func(m measured) float64 { return m.p50 }, func(m measured) float64 { return m.p99 }
	return []result{first, latency(name+" latency", "us", column(0, p50), column(0, p99), column(1, p50), column(1, p99))}
}

// settle has a file on the disk, and for a cold start out of the host's cache.
func settle(path string, cold bool) error {
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
		return fmt.Errorf("drop %s from the cache: %w", path, err)
	}
	return nil
}
