// SPDX-License-Identifier: MPL-2.0

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
)

// v2 is documented in the kernel's Documentation/admin-guide/cgroup-v2.rst.
type v2 struct{ spec Spec }

func (g v2) Create() error {
	dir, limits := g.spec.Unified, g.spec.Limits
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create the cgroup: %w", err)
	}
	if limits.MemoryBytes != 0 {
		if err := write(dir, "memory.max", strconv.FormatUint(limits.MemoryBytes, 10)); err != nil {
			return err
		}
		if err := writeOptional(dir, "memory.swap.max", "0"); err != nil {
			return err
		}
	}
	if limits.MemoryLow != 0 {
		if err := write(dir, "memory.low", strconv.FormatUint(limits.MemoryLow, 10)); err != nil {
			return err
		}
	}
	if limits.CPUShares != 0 {
		if err := write(dir, "cpu.weight", strconv.FormatUint(weight(limits.CPUShares), 10)); err != nil {
			return err
		}
	}
	if limits.CPUs != "" {
		return write(dir, "cpuset.cpus", limits.CPUs)
	}
	return nil
}

// weight converts CPU shares of v1 (2 to 262144, default 1024) to a weight of v2
// (1 to 10000, default 100). The curve maps minimum, default and maximum to each
// other. It is the one of ConvertCPUSharesToCgroupV2Value in
// opencontainers/cgroups, which OCI runtimes and Nomad's exec driver have used
// since 2025.
func weight(shares uint64) uint64 {
	switch {
	case shares <= 2:
		return 1
	case shares >= 262144:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

// Enter does nothing for a process that was created in the group. The client starts
// executors there (CLONE_INTO_CGROUP), because a move waits for every CPU of the
// machine.
func (g v2) Enter() error {
	if path, err := read("/proc/self", "cgroup"); err == nil {
		for line := range strings.Lines(path) {
			own, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/")
			if ok && own != "" && strings.HasSuffix(g.spec.Unified, "/"+own) {
				return nil
			}
		}
	}
	if err := write(g.spec.Unified, "cgroup.procs", "0"); err != nil {
		return fmt.Errorf("enter cgroup: %w", err)
	}
	return nil
}

func (g v2) Release() error { return nil }

func (g v2) Thaw() error {
	return writeOptional(g.spec.Unified, "cgroup.freeze", "0")
}

func (g v2) Memory() (Memory, error) {
	var m Memory
	dir := g.spec.Unified
	err := errors.Join(
		readTable(dir, "memory.stat", map[string]*uint64{"anon": &m.RSS, "file": &m.Cache}),
		readTable(dir, "memory.events", map[string]*uint64{"oom_kill": &m.OOMKills}),
		readNumbers(dir, map[string]*uint64{"memory.current": &m.Usage, "memory.max": &m.Limit}),
	)
	// Kernels without swap accounting lack memory.swap.current. Kernels before
	// 5.19 lack memory.peak.
	m.Swap, _ = readNumber(dir, "memory.swap.current")
	m.Peak, _ = readNumber(dir, "memory.peak")
	return m, err
}

func (g v2) CPU() (CPU, error) {
	var c CPU
	err := readTable(g.spec.Unified, "cpu.stat", map[string]*uint64{
		"nr_periods": &c.Periods, "nr_throttled": &c.Throttled, "throttled_usec": &c.ThrottledNS,
	})
	c.ThrottledNS *= 1000
	return c, err
}

func (g v2) Remove(ctx context.Context) error { return remove(ctx, g.spec.Unified) }
