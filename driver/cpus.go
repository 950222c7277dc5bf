// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// cpus is the compute capacity of the host, as Nomad counts it.
type cpus struct {
	total  int // MHz of all processors
	number int
}

// ticks converts a percentage of one processor to MHz.
func (c cpus) ticks(percent float64) float64 {
	if c.number == 0 {
		return 0
	}
	return percent / 100 * float64(c.total) / float64(c.number)
}

// readCPUs reads the speed of the online processors from /sys, and where it is
// missing there, as on most virtual machines, from /proc/cpuinfo. A Nomad
// client reads the same files in the same order.
func readCPUs(root fs.FS) (cpus, error) {
	const dir = "sys/devices/system/cpu"
	online, err := fs.ReadFile(root, path.Join(dir, "online"))
	if err != nil {
		return cpus{}, err
	}
	ids, err := parseCPUList(strings.TrimSpace(string(online)))
	if err != nil {
		return cpus{}, fmt.Errorf("%s/online: %w", dir, err)
	}
	c := cpus{number: len(ids)}
	for _, id := range ids {
		c.total += sysfsMHz(root, path.Join(dir, fmt.Sprintf("cpu%d", id)))
	}
	if c.total == 0 {
		mhz, err := cpuinfoMHz(root)
		if err != nil {
			return cpus{}, err
		}
		c.total = mhz * c.number
	}
	return c, nil
}

// sysfsMHz returns the speed that a processor can sustain, its highest speed
// where only that is known, or 0.
func sysfsMHz(root fs.FS, dir string) int {
	number := func(name string) int {
		content, err := fs.ReadFile(root, path.Join(dir, name))
		if err != nil {
			return 0
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(content)))
		if err != nil {
			return 0
		}
		return n
	}
	scaling, _ := fs.ReadFile(root, path.Join(dir, "cpufreq/scaling_driver"))
	base := number("cpufreq/base_frequency") / 1000 // in kHz
	if strings.TrimSpace(string(scaling)) == "acpi-cpufreq" {
		base = number("acpi_cppc/nominal_freq") // in MHz
	}
	if base > 0 {
		return base
	}
	return number("cpufreq/cpuinfo_max_freq") / 1000
}

func cpuinfoMHz(root fs.FS) (int, error) {
	content, err := fs.ReadFile(root, "proc/cpuinfo")
	if err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if strings.TrimSpace(key) != "cpu MHz" {
			continue
		}
		mhz, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/cpuinfo: %w", err)
		}
		return int(mhz), nil
	}
	return 0, fmt.Errorf("neither /sys nor /proc/cpuinfo contains the speed of the processors")
}

// parseCPUList parses a list of processors as the kernel writes it, such as
// "0-3,8".
func parseCPUList(list string) ([]int, error) {
	var ids []int
	for item := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(item, "-")
		from, err := strconv.Atoi(first)
		if err != nil {
			return nil, err
		}
		to := from
		if isRange {
			if to, err = strconv.Atoi(last); err != nil {
				return nil, err
			}
		}
		for id := from; id <= to; id++ {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
