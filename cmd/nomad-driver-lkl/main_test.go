// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/version"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestMain_HasTheCommandsOfLKL(t *testing.T) {
	out, err := exec.Command(testenv.Plugin(t), "--version").Output()
	must.NoError(t, err)
	must.StrHasPrefix(t, "nomad-driver-lkl "+version.Version, string(out))
	help := func(program string) string {
		out, err := exec.Command(program, "help").Output()
		must.NoError(t, err)
		_, commands, found := strings.Cut(string(out), "Commands:")
		must.True(t, found)
		return commands
	}
	must.Eq(t, help(testenv.LKL(t)), strings.ReplaceAll(help(testenv.Plugin(t)), "nomad-driver-lkl", "lkl"))
}

func TestMain_InAShellPrintsThatItIsAPlugin(t *testing.T) {
	out, err := exec.Command(testenv.Plugin(t)).CombinedOutput()
	must.Error(t, err)
	must.StrContains(t, string(out), "This binary is a plugin")
}
