// SPDX-License-Identifier: MPL-2.0

package lkl_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

func TestAddMounts_KeepsTheRestOfTheLine(t *testing.T) {
	mounts := []lkl.Mount{{Device: "0", Path: "/data", Type: lkl.HostFS, Options: "ro"}}
	const share = `{"device":"0","path":"/data","type":"hostfs","options":"ro"}`
	for line, want := range map[string]parsedLine{
		"":                            {config: `{"mounts":[` + share + `]}`},
		"A=1 B='two words'":           {env: []string{"A=1", "B=two words"}, config: `{"mounts":[` + share + `]}`},
		"A=1  -- x  --config y":       {env: []string{"A=1"}, config: `{"mounts":[` + share + `]}`, args: []string{"x", "--config", "y"}},
		`--config {} B=2 -- "" '--'`:  {env: []string{"B=2"}, config: `{"mounts":[` + share + `]}`, args: []string{"", "--"}},
		`--config={\"uid\":\"7\"} --`: {config: `{"mounts":[` + share + `],"uid":"7"}`},
		`"--config" '{"uid":7}' -- a`: {config: `{"mounts":[` + share + `],"uid":7}`, args: []string{"a"}},
		"--solo5:quiet A=1 -- b":      {env: []string{"A=1"}, config: `{"mounts":[` + share + `]}`, args: []string{"b"}},
		`--config`:                    {config: `{"mounts":[` + share + `]}`},
		`--config '{"mounts":[{"device":"tmpfs","path":"/a<b"}]}'`: {
			config: `{"mounts":[` + share + `,{"device":"tmpfs","path":"/a<b"}]}`,
		},
	} {
		got, err := lkl.AddMounts(line, mounts)
		must.NoError(t, err)
		got = strings.TrimPrefix(got, "--solo5:quiet ") // as the bindings do
		parsed, err := parseLine(got)
		if err != nil { // the line of a guest without arguments
			parsed, err = parseLine(got + " --")
		}
		must.NoError(t, err)
		must.Eq(t, want.env, parsed.env, must.Sprint(line))
		must.True(t, slices.Equal(want.args, parsed.args), must.Sprint(line))
		must.Eq(t, want.config, parsed.config, must.Sprint(line))
	}
	for _, line := range []string{"--config {", `--config '{"mounts":{}}'`, "--config []"} {
		_, err := lkl.AddMounts(line, mounts)
		must.ErrorIs(t, err, lkl.ErrConfig)
	}
}

func TestSetOutput_KeepsKeysOfTheUser(t *testing.T) {
	output := lkl.Output{Stderr: true, StdoutTTY: true}
	for line, want := range map[string]string{
		"A=1 -- x":                            `{"argv0":"a\"b","stderr":"1","stdout_tty":"1"}`,
		`--config '{"argv0":"c","uid":7}' --`: `{"argv0":"c","stderr":"1","stdout_tty":"1","uid":7}`,
		`--config '{"stdout_tty":"0"}' --`:    `{"argv0":"a\"b","stderr":"1","stdout_tty":"0"}`,
	} {
		got, err := lkl.SetOutput(line, output, `a"b`)
		must.NoError(t, err)
		parsed, err := parseLine(got)
		must.NoError(t, err)
		must.Eq(t, want, parsed.config, must.Sprint(line))
	}
	for _, line := range []string{"--config {", `--config ""`, "--config []"} {
		_, err := lkl.SetOutput(line, output, "")
		must.ErrorIs(t, err, lkl.ErrConfig)
	}
	_, err := lkl.SetOutput("", output, "\n")
	must.ErrorIs(t, err, lkl.ErrConfig)
}

func TestProgramName_IsThatOfTheFile(t *testing.T) {
	for kernel, want := range map[string]string{
		"lkl-busybox.spt": "busybox", "/srv/greet.spt": "greet", "local/lkl-nginx.hvt": "nginx",
		"web": "web", "python3.11": "python3.11", "bad\x01.spt": "",
	} {
		must.Eq(t, want, lkl.ProgramName(kernel))
	}
}
