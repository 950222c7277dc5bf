// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// commands measures commands for a shell as whole processes, from the start to the
// exit. The peer is the plugin, which has the same commands and links Nomad.
func commands(tree string, n int) ([]row, error) {
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
				took, err := runProgram(filepath.Join(tree, "build", program), c.args)
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
