// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/measure"
)

// pythonMemory is the memory of the guest of measurePython, in MB.
const pythonMemory = "128"

const largestPiece = "largest piece"

// A pythonRun is the output of program/memory.py.
type pythonRun struct {
	Largest float64            // MiB of the largest piece that each round got at its end
	Slowest map[string]float64 // ms by kind of work
}

// measurePython measures the work with memory that Python programs do, after file
// activity, in a small guest and natively.
func (b *testbed) measurePython(p settings) ([]result, error) {
	files := filepath.Join(b.dir, "python")
	if err := os.CopyFS(files, os.DirFS("build/guest/lkl-python3.root")); err != nil {
		return nil, err
	}
	program, err := os.ReadFile("guest/lkl/bench/program/memory.py")
	if err != nil {
		return nil, err
	}
	native := filepath.Join(files, "memory.py")
	if err := os.WriteFile(native, program, 0o644); err != nil {
		return nil, err
	}
	control, err := controlDevice()
	if err != nil {
		return nil, err
	}
	defer control.Close()
	args := []string{strconv.Itoa(memoryFiles), strconv.Itoa(int(p.load.Seconds()))}
	var slowest [2]map[string][]float64
	for range p.rounds {
		inGuest, err := b.guestCommand(guestMachine{"build/guest/lkl-python3.spt", pythonMemory, files, "1G"}, control,
			append([]string{"/memory.py"}, args...)...)
		if err != nil {
			return nil, err
		}
		onHost := exec.Command("python3", append([]string{native}, args...)...)
		onHost.Dir = b.dir
		for i, c := range []*exec.Cmd{inGuest, onHost} {
			if err := addPythonRun(&slowest[i], c); err != nil {
				return nil, err
			}
		}
	}
	return pythonResults(slowest), nil
}

// addPythonRun runs memory.py and adds its times.
func addPythonRun(slowest *map[string][]float64, c *exec.Cmd) error {
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		return fmt.Errorf("%s: %w: %s%s", c, err, out, &errs)
	}
	var run pythonRun
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], &run); err != nil || len(run.Slowest) == 0 {
		return errors.Join(fmt.Errorf("unexpected output of %s: %q", c, out), err)
	}
	if *slowest == nil {
		*slowest = map[string][]float64{}
	}
	(*slowest)[largestPiece] = append((*slowest)[largestPiece], run.Largest)
	for work, ms := range run.Slowest {
		(*slowest)[work] = append((*slowest)[work], ms)
	}
	return nil
}

// pythonResults returns the slowest time of each kind of work: the median and the worst
// of the rounds.
func pythonResults(slowest [2]map[string][]float64) []result {
	var results []result
	for _, work := range slices.Sorted(maps.Keys(slowest[0])) {
		guest, native := slowest[0][work], slowest[1][work]
		unit, worst := "ms", slices.Max[[]float64]
		if work == largestPiece {
			unit, worst = "MiB", slices.Min[[]float64]
		}
		results = append(results, result{Figure: measure.Figure{
			Name: "python " + work, Unit: unit, P50: measure.Median(guest), P99: worst(guest),
			Peer: "native", PeerP50: measure.Median(native), PeerP99: worst(native),
		}})
	}
	return results
}
