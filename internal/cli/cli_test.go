// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/version"
)

// runProgram runs lkl in this process, and returns its exit status and output.
func runProgram(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = Main(Env{
		Program: Program{Name: "lkl", About: "About."}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
	}, args)
	return status, out.String(), errs.String()
}

func TestMain_ExitsWithTheStatusOfTheCommand(t *testing.T) {
	for _, c := range []struct {
		args, stdout, stderr string
		status               int
	}{
		{"help", "usage: lkl COMMAND", "", exitOK},
		{"--help", "About.", "", exitOK},
		{"help inspect", "usage: lkl inspect", "", exitOK},
		{"inspect -h", "usage: lkl inspect", "", exitOK},
		{"version", "lkl " + version.Version, "", exitOK},
		{"-v", "lkl " + version.Version, "", exitOK},
		{"--version", "lkl " + version.Version, "", exitOK},
		{"version 2", "", `unexpected argument "2"`, exitUsage},
		{"version --frob", "", "usage: lkl version", exitUsage},
		{"", "", "a command is required", exitUsage},
		{"frobnicate", "", `unknown command "frobnicate"`, exitUsage},
		{"help frobnicate", "", `unknown command "frobnicate"`, exitUsage},
	} {
		t.Run(c.args, func(t *testing.T) {
			status, stdout, stderr := runProgram(strings.Fields(c.args)...)
			must.Eq(t, c.status, status)
			must.StrContains(t, stdout, c.stdout)
			must.StrContains(t, stderr, c.stderr)
			must.Eq(t, c.stdout == "", stdout == "", must.Sprint(stdout))
		})
	}
}

func TestParse_OptionsStandAnywhere(t *testing.T) {
	for line, want := range map[string]string{
		"--json a b":     "true a b",
		"a --json b":     "true a b",
		"a b -json":      "true a b",
		"a -- --json":    "false a --json",
		"-- --json -- a": "false --json -- a",
		"-":              "false -",
	} {
		flags := newFlags()
		asJSON := flags.Bool("json", false, "")
		var e Env
		operands, _, done := e.parse(flags, strings.Fields(line))
		must.False(t, done)
		want, words, _ := strings.Cut(want, " ")
		must.Eq(t, want == "true", *asJSON, must.Sprint(line))
		must.Eq(t, words, strings.Join(operands, " "))
	}
}

// The initialization of Nomad's packages takes longer than the commands may take.
func TestPrograms_LKLDoesNotLinkNomad(t *testing.T) {
	output, err := exec.Command("go", "list", "-deps", "../../cmd/lkl").CombinedOutput()
	must.NoError(t, err, must.Sprint(string(output)))
	must.StrContains(t, string(output), "internal/cli")
	for dependency := range strings.FieldsSeq(string(output)) {
		must.StrNotContains(t, dependency, "github.com/hashicorp/")
	}
}
