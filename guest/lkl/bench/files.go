// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// A filesTest is a test of program/files.c.
type filesTest struct {
	name, mode, unit string
	count            int
}

var filesTests = []filesTest{
	{"open, read 4K, close", "open", "1/s", 20000},
	{"write 1 GiB", "write", "MB/s", 1024},
	{"read 1 GiB", "read", "MB/s", 1024},
	{"create", "create", "1/s", 10000},
	{"stat", "stat", "1/s", 10000},
	{"readdir", "readdir", "entries/s", 20000},
}

// measureFiles compares live directories and the guest's ext4 with a directory of the host. All
// are in the host's memory, so that its disk does not matter.
func (b *testbed) measureFiles(p settings) (_ []result, err error) {
	guest, native, err := b.compileProgram("files", "-manifest", "guest/lkl/bench/program/disk.json")
	if err != nil {
		return nil, err
	}
	memory := filepath.Join(b.dir, "memory")
	if err := os.Mkdir(memory, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount("bench", memory, "tmpfs", 0, "size=5g"); err != nil {
		return nil, fmt.Errorf("mount a tmpfs: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(memory, unix.MNT_DETACH)) }()
	var results []result
	for _, place := range []string{"live", "ext4"} {
		for _, t := range filesTests {
			var measured [2]series
			for range p.rounds {
				if err := b.filesRound(memory, place, t, [2]string{guest, native}, &measured); err != nil {
					return nil, fmt.Errorf("%s: %w", t.name, err)
				}
			}
			results = append(results, makeResults("files "+place+": "+t.name, t.unit, true, measured)...)
		}
	}
	return results, nil
}

// filesRound runs a test in a guest and natively, each in a new directory.
func (b *testbed) filesRound(memory, place string, t filesTest, programs [2]string, measured *[2]series) error {
	dir, err := os.MkdirTemp(memory, "round-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	shared, image := filepath.Join(dir, "shared"), filepath.Join(dir, "root.ext4")
	root, target := filepath.Join(dir, "root"), "/live"
	if place == "ext4" {
		target = "/data"
	}
	if err := errors.Join(os.Mkdir(shared, 0o755), os.MkdirAll(filepath.Join(root, "data"), 0o755)); err != nil {
		return err
	}
	if err := makeImage(image, "1536M", root); err != nil {
		return err
	}
	run := append(b.options.runArgs("256"), "--block:rootfs="+image, "--block-transfer:rootfs=1048576")
	config := `'{"disks":[{"transfer":"1048576","name":"rootfs"}]}'`
	if place == "live" {
		run = append(run, "--volume="+shared+":"+target)
	}
	run = append(run, "--", programs[0], "--config", config, "--", t.mode, target, strconv.Itoa(t.count))
	for i, c := range []*exec.Cmd{
		exec.Command(run[0], run[1:]...), exec.Command(programs[1], t.mode, filepath.Join(root, "data"), strconv.Itoa(t.count)),
	} {
		out, err := c.Output()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", c, err, out)
		}
		m, err := parseMeasurement(out)
		if err != nil {
			return err
		}
		measured[i].add(m)
	}
	return nil
}
