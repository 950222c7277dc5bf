// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
)

// warmUp is how many starts come before those that count.
const warmUp = 5

// The peers of the rows.
const trueName, echoName, sleepName = "raw_exec /bin/true", "raw_exec /bin/echo", "raw_exec /bin/sleep"

// measure makes all rows.
func (b *bench) measure(starts, tasks int) ([]row, error) {
	image, err := b.makeImage()
	if err != nil {
		return nil, fmt.Errorf("make an ext4 image: %w", err)
	}
	hello := map[string]any{"kernel": b.guest("hello.spt")}
	disk := map[string]any{
		"kernel": b.guest("disk-lkl.spt"), "rootfs": image, "flavor": "lkl", "args": []string{"mode=check", "bytes=512"},
	}
	idle := map[string]any{"kernel": b.guest("idle.spt")}

	guest := &contestant{name: "hello", driver: b.lkl, config: hello}
	rooted := &contestant{name: "disk", driver: b.lkl, config: disk}
	quiet := &contestant{name: trueName, silent: true, driver: b.raw, config: map[string]any{"command": "/bin/true"}}
	loud := &contestant{name: echoName, driver: b.raw, config: map[string]any{"command": "/bin/echo", "args": []string{"hello"}}}
	if err := b.race(starts, guest, quiet, rooted, loud); err != nil {
		return nil, err
	}
	kept, err := b.memory(b.lkl, idle, tasks)
	if err != nil {
		return nil, fmt.Errorf("idle: %w", err)
	}
	slept, err := b.memory(b.raw, map[string]any{"command": "/bin/sleep", "args": []string{"600"}}, tasks)
	if err != nil {
		return nil, fmt.Errorf("raw_exec sleep: %w", err)
	}
	return []row{
		compare("StartTask, no disk", "ms", "25", guest.started, trueName, quiet.started),
		compare("first console byte, no disk", "ms", "50", guest.spoke, echoName, loud.spoke),
		compare("StartTask, ext4 image of 64 MiB", "ms", "25", rooted.started, trueName, quiet.started),
		compare("first console byte, ext4 image of 64 MiB", "ms", "", rooted.spoke, echoName, loud.spoke),
		compare("private memory of an idle task", "KiB", "", kept.all, sleepName, slept.all),
		compare("the same beyond the guest's own", "KiB", "4096", kept.overhead, sleepName, slept.overhead),
	}, nil
}

// A contestant is one kind of task and what was measured of its starts, in
// milliseconds.
type contestant struct {
	name           string
	driver         drivers.DriverPlugin
	config         map[string]any
	silent         bool // it says nothing
	started, spoke []float64
}

// race starts tasks one after the other and takes each to its end: one of each
// contestant in turn, so that whatever else the machine does meets all of them
// alike.
func (b *bench) race(n int, all ...*contestant) error {
	for i := range warmUp + n {
		for _, c := range all {
			started, spoke, err := b.once(c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if i >= warmUp {
				c.started = append(c.started, milliseconds(started))
				c.spoke = append(c.spoke, milliseconds(spoke))
			}
		}
	}
	return nil
}

// once is one task from nothing to nothing.
func (b *bench) once(c *contestant) (started, spoke time.Duration, err error) {
	t, err := b.newTask(c.driver, c.config)
	if err != nil {
		return 0, 0, err
	}
	started, spoke, err = t.once(c.silent)
	return started, spoke, errors.Join(err, t.destroy())
}

// once is one task from its start to its end. A silent one spoke at no time.
func (t *task) once(silent bool) (started, spoke time.Duration, err error) {
	said := make(chan error, 1)
	t.begun = time.Now()
	if silent {
		said <- nil
	} else {
		go func() {
			var err error
			spoke, err = t.firstByte()
			said <- err
		}()
	}
	if err := t.start(); err != nil {
		return 0, 0, errors.Join(err, t.stdout.SetReadDeadline(time.Unix(1, 0)))
	}
	if err := t.wait(); err != nil {
		return 0, 0, err
	}
	if err := <-said; err != nil {
		return 0, 0, fmt.Errorf("wait for its first word: %w", err)
	}
	return t.started, spoke, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// makeImage is an ext4 image with next to nothing in it.
func (b *bench) makeImage() (string, error) {
	path := filepath.Join(b.dir, "image.ext4")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	if err := errors.Join(f.Truncate(64<<20), f.Close()); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(context.Background(), "mke2fs", "-q", "-t", "ext4", "-F", path).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
}

// private is the memory of tasks, in KiB: of all their processes, and without
// what is a guest's own.
type private struct{ all, overhead []float64 }

// memory keeps tasks at the same time and looks at each.
func (b *bench) memory(d drivers.DriverPlugin, config map[string]any, n int) (p private, err error) {
	var tasks []*task
	defer func() {
		for _, t := range tasks {
			err = errors.Join(err, t.destroy())
		}
	}()
	for range n {
		t, err := b.newTask(d, config)
		if err != nil {
			return p, err
		}
		tasks = append(tasks, t)
		if err := t.start(); err != nil {
			return p, err
		}
	}
	time.Sleep(2 * time.Second) // for runtimes to give back what starting took
	for _, t := range tasks {
		all, overhead, err := t.memory()
		if err != nil {
			return p, err
		}
		p.all, p.overhead = append(p.all, all), append(p.overhead, overhead)
	}
	return p, nil
}

// memory is what a task takes: its own process and that which holds it.
func (t *task) memory() (all, overhead float64, err error) {
	status, err := t.driver.InspectTask(t.ID)
	if err != nil {
		return 0, 0, err
	}
	pid, err := strconv.Atoi(status.DriverAttributes["pid"])
	if err != nil {
		return 0, 0, err
	}
	guest, _ := strconv.ParseUint(status.DriverAttributes["guest_memory"], 10, 64) // none for raw_exec
	own, beyond, err := privateOf(pid, guest)
	if err != nil {
		return 0, 0, err
	}
	holder, err := parentOf(pid)
	if err != nil {
		return 0, 0, err
	}
	held, _, err := privateOf(holder, 0)
	return own + held, beyond + held, err
}

func compare(name, unit, goal string, ours []float64, peer string, theirs []float64) row {
	if goal != "" {
		goal = "p50 <= " + goal
	}
	return row{
		Name: name, Unit: unit, goal: goal, P50: quantile(ours, 0.5), P99: quantile(ours, 0.99),
		Peer: peer, PeerP50: quantile(theirs, 0.5), PeerP99: quantile(theirs, 0.99),
	}
}

// quantile is the least value that so large a share of all does not exceed.
func quantile(values []float64, share float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	i := int(share*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}
