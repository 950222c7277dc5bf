// SPDX-License-Identifier: MPL-2.0

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// v1 is documented in the kernel's Documentation/admin-guide/cgroup-v1.
type v1 struct{ spec Spec }

// unlimited is less than the limit of a group without one: the highest multiple of the
// page size.
const unlimited = 1 << 62

func (g v1) Create() error {
	for _, dir := range []string{g.spec.Freezer, g.spec.Memory, g.spec.CPU, g.spec.CPUSet} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("create the cgroup: %w", err)
		}
	}
	if err := g.limitMemory(); err != nil {
		return err
	}
	if n := g.spec.Limits.CPUShares; n != 0 && g.spec.CPU != "" {
		if err := write(g.spec.CPU, "cpu.shares", strconv.FormatUint(n, 10)); err != nil {
			return err
		}
	}
	return g.prepareCPUSet()
}

func (g v1) limitMemory() error {
	dir, limits := g.spec.Memory, g.spec.Limits
	if dir == "" || limits.MemoryBytes == 0 {
		return nil
	}
	limit := strconv.FormatUint(limits.MemoryBytes, 10)
	const withSwap = "memory.memsw.limit_in_bytes" // missing on kernels that do not account swap
	// The kernel keeps withSwap >= memory.limit_in_bytes. The limits of an
	// earlier run decide which of the two can be written first.
	if err := write(dir, "memory.limit_in_bytes", limit); err != nil {
		if err := writeOptional(dir, withSwap, limit); err != nil {
			return err
		}
		if err := write(dir, "memory.limit_in_bytes", limit); err != nil {
			return err
		}
	}
	if err := writeOptional(dir, withSwap, limit); err != nil {
		return err
	}
	if limits.MemoryLow == 0 {
		return nil
	}
	return writeOptional(dir, "memory.soft_limit_in_bytes", strconv.FormatUint(limits.MemoryLow, 10))
}

// prepareCPUSet sets the CPUs and memory nodes of the task's own cpuset. A
// process cannot enter a cpuset that lacks either. Nomad manages shared cpusets.
func (g v1) prepareCPUSet() error {
	dir := g.spec.CPUSet
	if dir == "" || !g.ownsCPUSet() {
		return nil
	}
	for _, f := range []struct{ name, value string }{
		{"cpuset.cpus", g.spec.Limits.CPUs},
		{"cpuset.mems", ""},
	} {
		now, err := read(dir, f.name)
		if err != nil {
			return err
		}
		value := f.value
		if value == "" && now == "" {
			if value, err = read(filepath.Dir(dir), f.name); err != nil {
				return err
			}
		}
		if value == "" || value == now {
			continue
		}
		if err := write(dir, f.name, value); err != nil {
			return err
		}
	}
	return nil
}

func (g v1) ownsCPUSet() bool {
	return filepath.Base(g.spec.CPUSet) == filepath.Base(g.spec.Memory)
}

// Enter writes "0", which stands for the calling thread, to each tasks file. That
// takes some 40 µs; a move of the process through cgroup.procs waits for every
// CPU of the machine, 5 to 16 ms. Children inherit the groups of the thread.
// Call it on the main thread: the kernel charges memory to the group of the
// thread group leader.
func (g v1) Enter() error {
	for _, dir := range []string{g.spec.CPUSet, g.spec.CPU, g.spec.Memory, g.spec.Freezer} {
		if dir == "" {
			continue
		}
		if err := write(dir, "tasks", "0"); err != nil {
			return fmt.Errorf("enter cgroup: %w", err)
		}
	}
	return nil
}

// Release moves the thread to the parent of the freezer group. A frozen executor
// could not kill its guest, and Nomad kills all processes in the freezer group.
func (g v1) Release() error {
	if g.spec.Freezer == "" {
		return nil
	}
	if err := write(filepath.Dir(g.spec.Freezer), "tasks", "0"); err != nil {
		return fmt.Errorf("leave cgroup %s: %w", g.spec.Freezer, err)
	}
	return nil
}

func (g v1) Thaw() error {
	if g.spec.Freezer == "" {
		return nil
	}
	return writeOptional(g.spec.Freezer, "freezer.state", "THAWED")
}

func (g v1) Memory() (Memory, error) {
	var m Memory
	dir := g.spec.Memory
	if dir == "" {
		return m, errors.ErrUnsupported
	}
	var limit uint64
	err := errors.Join(
		readTable(dir, "memory.stat", map[string]*uint64{
			"rss": &m.RSS, "cache": &m.Cache, "swap": &m.Swap, "hierarchical_memory_limit": &limit,
		}),
		readTable(dir, "memory.oom_control", map[string]*uint64{"oom_kill": &m.OOMKills}),
		readNumbers(dir, map[string]*uint64{"memory.usage_in_bytes": &m.Usage, "memory.max_usage_in_bytes": &m.Peak}),
	)
	if limit < unlimited {
		m.Limit = limit
	}
	return m, err
}

func (g v1) CPU() (CPU, error) {
	var c CPU
	if g.spec.CPU == "" {
		return c, errors.ErrUnsupported
	}
	err := readTable(g.spec.CPU, "cpu.stat", map[string]*uint64{
		"nr_periods": &c.Periods, "nr_throttled": &c.Throttled, "throttled_time": &c.ThrottledNS,
	})
	return c, err
}

func (g v1) Remove(ctx context.Context) error {
	errs := []error{remove(ctx, g.spec.Freezer), remove(ctx, g.spec.Memory), remove(ctx, g.spec.CPU)}
	if g.ownsCPUSet() {
		errs = append(errs, remove(ctx, g.spec.CPUSet))
	}
	return errors.Join(errs...)
}

// readNumbers reads several files that contain one number each.
func readNumbers(dir string, want map[string]*uint64) error {
	var errs []error
	for file, to := range want {
		n, err := readNumber(dir, file)
		*to = n
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
