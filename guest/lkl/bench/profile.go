// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// samplesPerSecond is the sampling rate of perf.
const samplesPerSecond = 5000

// A profile is the distribution of a process's time over a period, in
// milliseconds. Parts contains the processor time in the host kernel by reason of
// entry, and in the process itself as "own". The process waited for the rest.
type profile struct {
	MS    float64            `json:"ms"`
	Parts map[string]float64 `json:"parts"`
}

// String returns the parts as shares of the period, the largest first.
func (s *profile) String() string {
	names := slices.SortedFunc(maps.Keys(s.Parts), func(a, b string) int {
		return int(1e6 * (s.Parts[b] - s.Parts[a]))
	})
	var list []string
	waited := s.MS
	for _, name := range names {
		waited -= s.Parts[name]
		if share := 100 * s.Parts[name] / s.MS; share >= 1 {
			list = append(list, fmt.Sprintf("%s %.0f %%", name, share))
		}
	}
	return fmt.Sprintf("%s, waiting %.0f %%", strings.Join(list, ", "), max(0, 100*waited/s.MS))
}

// profileCommand runs a command under perf, and returns the profile of a process
// during its measurement. The process is an option of perf script, such as
// "--comm=NAME".
func (b *testbed) profileCommand(c *exec.Cmd, process string) (*profile, error) {
	out, err := b.recordCommand(c)
	if err != nil {
		return nil, err
	}
	m, err := parseMeasurement(out)
	if err != nil {
		return nil, err
	}
	return b.readProfile(process, m.from, m.to)
}

// recordCommand runs a command while perf samples the call stacks of all running
// processes. It returns the command's output.
func (b *testbed) recordCommand(c *exec.Cmd) ([]byte, error) {
	args := []string{
		"perf", "record", "-q", "-a", "-k", "CLOCK_REALTIME", "-F", strconv.Itoa(samplesPerSecond), "-e", "cpu-clock", "-g",
		"-o", b.perfDataPath(), "--",
	}
	args = append(args, c.Args...)
	out, err := exec.Command(args[0], args[1:]...).Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", args, err, out)
	}
	return out, nil
}

func (b *testbed) perfDataPath() string { return filepath.Join(b.dir, "perf.data") }

var (
	sampleTime = regexp.MustCompile(`^ *(\d+\.\d+):`)
	systemCall = regexp.MustCompile(`\b(?:__x64_sys_|ksys_)(\w+)`)
)

// readProfile makes the profile of a process from the recorded samples between
// two times.
func (b *testbed) readProfile(process string, from, to float64) (*profile, error) {
	out, err := exec.Command("perf", "script", "-i", b.perfDataPath(), process, "-F", "time,ip,sym").Output()
	if err != nil {
		return nil, fmt.Errorf("perf script: %w", err)
	}
	s := &profile{MS: 1e3 * (to - from), Parts: map[string]float64{}}
	for _, sample := range strings.Split(string(out), "\n\n") { // a line with the time, then the stack
		m := sampleTime.FindStringSubmatch(sample)
		if m == nil {
			continue
		}
		if at, _ := strconv.ParseFloat(m[1], 64); at >= from && at <= to {
			s.Parts[kernelEntry(sample)] += 1e3 / samplesPerSecond
		}
	}
	if len(s.Parts) == 0 {
		return nil, fmt.Errorf("perf has no samples of %s in %.0f ms", process, s.MS)
	}
	return s, nil
}

// kernelEntry returns the reason why the process of a stack entered the host
// kernel, or "own" if it did not.
func kernelEntry(stack string) string {
	call := systemCall.FindStringSubmatch(stack)
	switch {
	case strings.Contains(stack, "asm_exc_page_fault"):
		return "page faults"
	case call != nil:
		return call[1]
	case strings.Contains(stack, "entry_SYSCALL_64"):
		return "way to calls" // mostly the seccomp filter
	case strings.Contains(stack, "asm_"):
		return "interrupts"
	}
	return "own"
}
