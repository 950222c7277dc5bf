// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// commands measures commands for a shell as whole processes, from the start to the
// exit. The peer is the plugin, which has the same commands and links Nomad.
func commands(tree string, n int) ([]row, error) {
	dir, err := os.MkdirTemp("", "lkl-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := install(filepath.Join(tree, "build"), dir, "lkl", "nomad-driver-lkl"); err != nil {
		return nil, err
	}
	kernel := filepath.Join(tree, "build", "guest", "hello.spt")
	var rows []row
	for _, c := range []struct {
		name string
		args []string
	}{
		{"--version", []string{"--version"}},
		{"inspect", []string{"inspect", kernel}},
		{"run", []string{"run", "--mem=8", kernel}},
	} {
		ours, peer := series{name: "lkl " + c.name}, series{name: "nomad-driver-lkl " + c.name}
		for i := range warmUp + n {
			for program, s := range map[string]*series{"lkl": &ours, "nomad-driver-lkl": &peer} {
				took, err := runProgram(filepath.Join(dir, program), c.args)
				if err != nil {
					return nil, err
				}
				if i >= warmUp {
					s.values = append(s.values, milliseconds(took))
				}
			}
		}
		rows = append(rows, compare(ours.name, "ms", "5", ours, peer))
	}
	return rows, nil
}

// install copies programs, as make install does. The pages of a file that the linker has
// written lie scattered in memory, and such a program starts more slowly.
func install(from, to string, programs ...string) error {
	for _, program := range programs {
		content, err := os.ReadFile(filepath.Join(from, program))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, program), content, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// runCommands measures only the commands, and writes no results.
func runCommands(n int) error {
	tree, err := findTree()
	if err != nil {
		return err
	}
	rows, err := commands(tree, n)
	if err != nil {
		return err
	}
	show(rows)
	return nil
}

// runProgram returns the time from the start of the program to its exit.
func runProgram(path string, args []string) (time.Duration, error) {
	cmd := exec.CommandContext(context.Background(), path, args...)
	begun := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%s: %w", cmd, err)
	}
	return time.Since(begun), nil
}
