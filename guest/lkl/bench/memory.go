// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv/measure"
)

// memorySizes are the sizes of the guests of measureMemory, in MB.
var memorySizes = []int{64, 128, 256, 512}

// memoryFiles is the number of small files that a guest of measureMemory writes first.
const memoryFiles = 20000

// A memoryRun is the output of program/memory.c.
type memoryRun struct {
	pieces       []memoryPieces
	checkerboard float64 // share of the available memory outside the holes
	holes        float64 // share of the available memory in the holes
}

// memoryPieces are the pieces of memory of one size that a guest got.
type memoryPieces struct {
	share    float64 // of the available memory
	possible float64 // the largest share that whole pieces could have
	worst    float64 // ms of the slowest mmap
}

// measureMemory measures the memory that a program gets after file activity.
func (b *testbed) measureMemory(p settings) ([]result, error) {
	guest, _, err := b.compileProgram("memory", "-manifest", "guest/lkl/bench/program/disk.json")
	if err != nil {
		return nil, err
	}
	var results []result
	for _, size := range memorySizes {
		var runs []memoryRun
		for range p.rounds {
			run, err := b.memoryRound(guest, size)
			if err != nil {
				return nil, fmt.Errorf("guest of %d MB: %w", size, err)
			}
			runs = append(runs, run)
		}
		results = append(results, memoryResults(fmt.Sprintf("memory %d MB: ", size), runs)...)
	}
	return results, nil
}

// memoryRound runs one guest.
func (b *testbed) memoryRound(guest string, size int) (memoryRun, error) {
	dir, err := os.MkdirTemp(b.dir, "memory-")
	if err != nil {
		return memoryRun{}, err
	}
	defer os.RemoveAll(dir)
	image, empty := filepath.Join(dir, "root.ext4"), filepath.Join(dir, "empty")
	if err := errors.Join(os.Mkdir(empty, 0o755), makeImage(image, "1G", empty)); err != nil {
		return memoryRun{}, err
	}
	run := append(b.options.runArgs(strconv.Itoa(size)), "--block:rootfs="+image, "--", guest, "--",
		strconv.Itoa(size), strconv.Itoa(memoryFiles))
	c := exec.Command(run[0], run[1:]...)
	out, err := c.Output()
	if err != nil {
		return memoryRun{}, fmt.Errorf("%s: %w: %s", c, err, out)
	}
	return parseMemory(out)
}

func parseMemory(out []byte) (run memoryRun, err error) {
	for line := range bytes.Lines(out) {
		var p memoryPieces
		var kib, available, got, holes float64
		if n, _ := fmt.Sscanf(string(line), "pieces %f %f %f %f", &kib, &got, &available, &p.worst); n == 4 {
			p.worst /= 1000
			p.share = got / available
			if len(run.pieces) == 2 {
				kib /= 2 // the last series ends with halves
			}
			p.possible = math.Floor(available/kib) * kib / available
			run.pieces = append(run.pieces, p)
		}
		if n, _ := fmt.Sscanf(string(line), "checkerboard %f %f %f", &got, &available, &holes); n == 3 {
			run.checkerboard, run.holes = got/(available-holes), holes/available
		}
	}
	if len(run.pieces) != 3 || run.holes == 0 {
		return run, fmt.Errorf("unexpected output: %q", out)
	}
	return run, nil
}

// memoryResults returns the median and the worst of the runs. The peer is the largest
// possible value.
func memoryResults(prefix string, runs []memoryRun) []result {
	var results []result
	add := func(name, unit, peer string, value, limit func(memoryRun) float64, worst func([]float64) float64) {
		var values, limits []float64
		for _, r := range runs {
			values, limits = append(values, value(r)), append(limits, limit(r))
		}
		results = append(results, result{Figure: measure.Figure{
			Name: prefix + name, Unit: unit, P50: measure.Median(values), P99: worst(values),
			Peer: peer, PeerP50: measure.Median(limits), PeerP99: slices.Min(limits),
		}})
	}
	for i, part := range []string{"1/64", "1/16", "1/4"} {
		add("pieces of "+part, "share", "whole pieces", func(r memoryRun) float64 { return r.pieces[i].share },
			func(r memoryRun) float64 { return r.pieces[i].possible }, slices.Min)
		add("slowest mmap of "+part, "ms", "goal", func(r memoryRun) float64 { return r.pieces[i].worst },
			func(memoryRun) float64 { return 20 }, slices.Max)
	}
	add("outside a checkerboard", "share", "all", func(r memoryRun) float64 { return r.checkerboard },
		func(memoryRun) float64 { return 1 }, slices.Min)
	add("in a checkerboard's holes", "share", "all", func(r memoryRun) float64 { return r.holes },
		func(memoryRun) float64 { return 1 }, slices.Max)
	return results
}
