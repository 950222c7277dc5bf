// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/driver"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestDispatch(t *testing.T) {
	for _, c := range []struct {
		arg, stdout, stderr string
		status              int
	}{
		{"help", "Usage: ", "", 0},
		{"--help", "Usage: ", "", 0},
		{"version", driver.Version, "", 0},
		{"-v", driver.Version, "", 0},
		{"frobnicate", "", `unknown command "frobnicate"`, 2},
	} {
		t.Run(c.arg, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			must.Eq(t, c.status, dispatch([]string{c.arg}, &stdout, &stderr))
			must.StrContains(t, stdout.String(), c.stdout)
			must.StrContains(t, stderr.String(), c.stderr)
		})
	}
}

func TestUsage_ListsEveryCommand(t *testing.T) {
	for name := range commands {
		must.StrContains(t, usage, "\n  "+name+" ")
	}
}

func TestMain_InAShellPrintsThatItIsAPlugin(t *testing.T) {
	out, err := exec.Command(testenv.Plugin(t)).CombinedOutput()
	must.Error(t, err)
	must.StrContains(t, string(out), "This binary is a plugin")
}
