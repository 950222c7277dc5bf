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

// samples are taken so often a second.
const samples = 5000

// spent is what a process did in so many milliseconds of the wall clock: the
// processor's time in the host's kernel, by what it was entered for, and in the
// process itself ("own"). The rest it waited.
type spent struct {
	MS    float64            `json:"ms"`
	Parts map[string]float64 `json:"parts"`
}

// String tells the parts as shares of the wall clock, the largest first.
func (s *spent) String() string {
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

// trace runs a command while perf takes samples of the processor's time, with
// what led there, of everything that runs. It gives the command's output.
func (b *bench) trace(c *exec.Cmd) ([]byte, error) {
	words := []string{
		"perf", "record", "-q", "-a", "-k", "CLOCK_REALTIME", "-F", strconv.Itoa(samples), "-e", "cpu-clock", "-g",
		"-o", b.recorded(), "--",
	}
	words = append(words, c.Args...)
	out, err := exec.Command(words[0], words[1:]...).Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", words, err, out)
	}
	return out, nil
}

func (b *bench) recorded() string { return filepath.Join(b.dir, "perf.data") }

var (
	sampleTime = regexp.MustCompile(`^ *(\d+\.\d+):`)
	systemCall = regexp.MustCompile(`\b(?:__x64_sys_|ksys_)(\w+)`)
)

// spent tells what perf saw of a process, which is an option such as
// "--comm=NAME", in the time from and to.
func (b *bench) spent(process string, from, to float64) (*spent, error) {
	out, err := exec.Command("perf", "script", "-i", b.recorded(), process, "-F", "time,ip,sym").Output()
	if err != nil {
		return nil, fmt.Errorf("perf script: %w", err)
	}
	s := &spent{MS: 1e3 * (to - from), Parts: map[string]float64{}}
	for _, sample := range strings.Split(string(out), "\n\n") { // a line of its own, then the stack
		m := sampleTime.FindStringSubmatch(sample)
		if m == nil {
			continue
		}
		if at, _ := strconv.ParseFloat(m[1], 64); at >= from && at <= to {
			s.Parts[entered(sample)] += 1e3 / samples
		}
	}
	if len(s.Parts) == 0 {
		return nil, fmt.Errorf("perf saw nothing of %s in %.0f ms", process, s.MS)
	}
	return s, nil
}

// entered is what a stack's host kernel was entered for.
func entered(stack string) string {
	call := systemCall.FindStringSubmatch(stack)
	switch {
	case strings.Contains(stack, "asm_exc_page_fault"):
		return "page faults"
	case call != nil:
		return call[1]
	case strings.Contains(stack, "entry_SYSCALL_64"):
		return "way to calls" // the filter, mostly
	case strings.Contains(stack, "asm_"):
		return "interrupts"
	}
	return "own"
}
