// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sustain keeps nginx in a guest under load, with one file after the other. It
// prints memory, rates and latencies at regular intervals.
func (b *testbed) sustain(d time.Duration) error {
	if err := b.startNginx(); err != nil {
		return err
	}
	for end, next := time.Now().Add(d), time.Now(); ; {
		var rates []string
		for _, f := range nginxFiles {
			rate, p50, p99, err := b.runWrk(guestAddress, f.name, 8*time.Second)
			if err != nil {
				return err
			}
			rates = append(rates, fmt.Sprintf("%s %.0f/s (%.2f ms, 99th percentile %.2f ms)", f.name, rate, p50, p99))
		}
		if now := time.Now(); !now.Before(next) || !now.Before(end) {
			fmt.Printf("%s left: %s, %s\n", max(0, end.Sub(now)).Round(time.Second), b.residentMemory(), strings.Join(rates, ", "))
			next = now.Add(d / 5)
			if !now.Before(end) {
				return nil
			}
		}
	}
}

// guestPID returns the process ID of the guest of a server, by the number of the server,
// or 0.
func (b *testbed) guestPID(server int) int {
	group := fmt.Sprint(b.running[server].Process.Pid)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // fails only for a bad pattern
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(stat), "(spt-guest)") {
			continue
		}
		fields := strings.Fields(string(stat)[strings.LastIndex(string(stat), ")"):])
		if fields[3] == group { // ")", state, parent, group
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}

// residentMemory returns the VmRSS line of the guest's status.
func (b *testbed) residentMemory() string {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.guestPID(0)))
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmRSS") {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return "VmRSS: unknown"
}
