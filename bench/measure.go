// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/measure"
)

// warmUp is the number of starts before the measured ones.
const warmUp = 5

// The names of the raw_exec tasks.
const trueName, echoName, sleepName = "raw_exec /bin/true", "raw_exec /bin/echo", "raw_exec /bin/sleep"

// measure returns all rows.
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
	silent := &contestant{name: trueName, silent: true, driver: b.raw, config: map[string]any{"command": "/bin/true"}}
	echo := &contestant{name: echoName, driver: b.raw, config: map[string]any{"command": "/bin/echo", "args": []string{"hello"}}}
	if err := b.race(starts, guest, silent, rooted, echo); err != nil {
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
	shell, err := commands(b.tree, starts)
	if err != nil {
		return nil, err
	}
	return append([]row{
		compare("StartTask, no disk", "ms", "25", series{guest.name, guest.started}, series{trueName, silent.started}),
		compare("first console byte, no disk", "ms", "50", series{guest.name, guest.output}, series{echoName, echo.output}),
		compare("StartTask, ext4 image of 64 MiB", "ms", "25", series{rooted.name, rooted.started}, series{trueName, silent.started}),
		compare("first console byte, ext4 image of 64 MiB", "ms", "", series{rooted.name, rooted.output}, series{echoName, echo.output}),
		compare("private memory of an idle task", "KiB", "", series{"idle", kept.all}, series{sleepName, slept.all}),
		compare("private memory except the guest's", "KiB", "4096", series{"idle", kept.overhead}, series{sleepName, slept.overhead}),
	}, shell...), nil
}

// A contestant is a kind of task, and the measured times in milliseconds.
type contestant struct {
	name   string
	driver drivers.DriverPlugin
	config map[string]any
	silent bool // the task prints nothing

	started []float64 // until StartTask returned
	output  []float64 // until the first byte of output
}

// race runs the tasks one after the other, one of each contestant in turn, so that
// other activity of the machine affects all contestants equally.
func (b *bench) race(n int, all ...*contestant) error {
	for i := range warmUp + n {
		for _, c := range all {
			started, output, err := b.runOnce(c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if i >= warmUp {
				c.started = append(c.started, milliseconds(started))
				c.output = append(c.output, milliseconds(output))
			}
		}
	}
	return nil
}

// runOnce creates a task, runs it to its end and destroys it.
func (b *bench) runOnce(c *contestant) (started, output time.Duration, err error) {
	t, err := b.newTask(c.driver, c.config)
	if err != nil {
		return 0, 0, err
	}
	started, output, err = t.runOnce(c.silent)
	return started, output, errors.Join(err, t.destroy())
}

// runOnce runs the task to its end. output is 0 for a silent task.
func (t *task) runOnce(silent bool) (started, output time.Duration, err error) {
	read := make(chan error, 1)
	t.begun = time.Now()
	if silent {
		read <- nil
	} else {
		go func() {
			var err error
			output, err = t.firstByte()
			read <- err
		}()
	}
	if err := t.start(); err != nil {
		return 0, 0, errors.Join(err, t.stdout.SetReadDeadline(time.Unix(1, 0)))
	}
	if err := t.wait(); err != nil {
		return 0, 0, err
	}
	if err := <-read; err != nil {
		return 0, 0, fmt.Errorf("wait for the first output: %w", err)
	}
	return t.started, output, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// makeImage makes an empty ext4 image.
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

// A memoryUsage is the private memory of tasks in KiB: of all processes, and without
// the memory of the guest.
type memoryUsage struct{ all, overhead []float64 }

// memory runs n tasks at the same time and measures each.
func (b *bench) memory(d drivers.DriverPlugin, config map[string]any, n int) (p memoryUsage, err error) {
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
	time.Sleep(2 * time.Second) // the runtimes return memory that only the start needed
	for _, t := range tasks {
		all, overhead, err := t.memory()
		if err != nil {
			return p, err
		}
		p.all, p.overhead = append(p.all, all), append(p.overhead, overhead)
	}
	return p, nil
}

// memory returns the private memory of the task's process and its executor.
func (t *task) memory() (all, overhead float64, err error) {
	status, err := t.driver.InspectTask(t.ID)
	if err != nil {
		return 0, 0, err
	}
	pid, err := strconv.Atoi(status.DriverAttributes["pid"])
	if err != nil {
		return 0, 0, err
	}
	guest, _ := strconv.ParseUint(status.DriverAttributes["guest_memory"], 10, 64) // 0 for raw_exec
	own, overhead, err := privateMemory(pid, guest)
	if err != nil {
		return 0, 0, err
	}
	executor, err := parentOf(pid)
	if err != nil {
		return 0, 0, err
	}
	parent, _, err := privateMemory(executor, 0)
	return own + parent, overhead + parent, err
}

// A series is the measured values of one contestant.
type series struct {
	name   string
	values []float64
}

func compare(name, unit, goal string, ours, peer series) row {
	if goal != "" {
		goal = "p50 <= " + goal
	}
	return row{goal: goal, Figure: measure.Figure{
		Name: name, Unit: unit,
		P50: measure.Quantile(ours.values, 0.5), P99: measure.Quantile(ours.values, 0.99),
		Peer:    peer.name,
		PeerP50: measure.Quantile(peer.values, 0.5), PeerP99: measure.Quantile(peer.values, 0.99),
	}}
}
