// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/hostcheck"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/taskmemory"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// runInspect runs the command and returns its exit status and output.
func runInspect(args ...string) (status int, stdout, stderr string) {
	return runProgram(append([]string{"inspect"}, args...)...)
}

func TestInspect_PrintsTheProperties(t *testing.T) {
	kernel := testenv.Guest(t, "hello.spt")
	status, text, stderr := runInspect(kernel)
	must.Eq(t, exitOK, status, must.Sprint(stderr))
	must.Eq(t, "", stderr)
	for _, part := range []string{kernel, "spt, ABI version 2", "r-x", "spt tender", "executable heap"} {
		must.StrContains(t, text, part)
	}
}

func TestInspect_PrintsJSON(t *testing.T) {
	kernel := testenv.Guest(t, "httpd.spt")
	status, text, stderr := runInspect("--json", kernel)
	must.Eq(t, exitOK, status, must.Sprint(stderr))
	var got inspection
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	must.NoError(t, decoder.Decode(&got))

	f, err := os.Open(kernel)
	must.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	must.NoError(t, err)
	m, err := unikernel.Read(f, info.Size())
	must.NoError(t, err)
	must.Eq(t, kernel, got.File)
	must.Eq(t, "spt", got.Target)
	must.Eq(t, m.ABI, got.ABI)
	must.Eq(t, m.Entry, got.Entry)
	must.Eq(t, m.End, got.End)
	must.Eq(t, m.MinMemory(), got.MinMemory)
	must.Eq(t, taskmemory.Divide(m, m.Flavor()).MinLimit(), got.MinTaskMemory)
	must.Eq(t, len(m.Segments), len(got.Segments))
	must.Eq(t, len(m.Manifest), len(got.Devices))
	must.Eq(t, 1, got.Devices[0].Handle)
	must.StrContains(t, text, `"features": []`)
}

func TestInspect_ListsTheFeaturesOfTheNote(t *testing.T) {
	const features = "config, memory, program, offload, transfer, flush, fsgsbase, network, devices, commandline, files, output, preempt"
	for _, target := range []string{"spt", "hvt"} {
		kernel := testenv.Guest(t, "lkl-hello."+target)
		status, text, _ := runInspect(kernel)
		must.Eq(t, exitOK, status)
		must.RegexMatch(t, regexp.MustCompile(`(?m)^Flavor +lkl\nFeatures +`+features+`$`), text)
		status, text, _ = runInspect("--json", kernel)
		must.Eq(t, exitOK, status)
		var got inspection
		must.NoError(t, json.Unmarshal([]byte(text), &got))
		must.Eq(t, strings.Split(features, ", "), got.Features)
	}
	_, text, _ := runInspect(testenv.Guest(t, "hello-lkl.spt")) // a legacy guest has no note
	must.StrNotContains(t, text, "Features")
}

func TestInspect_ExitStatusDependsOnTheError(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		must.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	cases := []struct {
		name string
		args []string
		want int
		says string
	}{
		{"no file named", nil, exitUsage, "0 are given"},
		{"two files named", []string{"a", "b"}, exitUsage, "2 are given"},
		{"an unknown option", []string{"--yaml", "a"}, exitUsage, "yaml"},
		{"a missing file", []string{filepath.Join(dir, "missing")}, exitFailed, "no such file"},
		{"a directory", []string{dir}, exitFailed, "not a regular file"},
		{"an empty file", []string{write("empty", "")}, exitRefused, "not a Solo5 unikernel"},
		{"a script", []string{"--json", write("script", "#!/bin/sh\n"+strings.Repeat("#", 80))}, exitRefused, "not a Solo5 unikernel"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			status, stdout, stderr := runInspect(c.args...)
			must.Eq(t, c.want, status)
			must.Eq(t, "", stdout)
			must.StrContains(t, stderr, c.says)
		})
	}
	status, stdout, _ := runInspect("--help")
	must.Eq(t, exitOK, status)
	must.StrHasPrefix(t, "usage: lkl inspect", stdout)
}

func TestInspect_ReportsAFullDisk(t *testing.T) {
	kernel := testenv.Guest(t, "hello.spt")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must.NoError(t, err)
	defer full.Close()
	var errs strings.Builder
	for _, args := range [][]string{{kernel}, {"--json", kernel}} {
		must.Eq(t, exitUnwritten, Main(Env{Stdout: full, Stderr: &errs}, append([]string{"inspect"}, args...)))
	}
}

func TestRequirements_DependOnTargetAndHost(t *testing.T) {
	host := func(err error) hostcheck.Host {
		return hostcheck.Host{
			SPT: func(context.Context) error { return err },
			KVM: func() error { return err },
			Tap: func() error { return err },
		}
	}
	able, unable := host(nil), host(errors.New("missing"))
	devices := []unikernel.Device{
		{Name: "rootfs", Type: unikernel.Block}, {Name: "tap", Type: unikernel.Net}, {Name: "control", Type: unikernel.Net},
	}
	cases := []struct {
		target unikernel.Target
		host   hostcheck.Host
		want   string
	}{
		{unikernel.TargetSPT, able, "spt tender: yes, block device rootfs: -, net device tap: yes, net device control: -, executable heap: -"},
		{unikernel.TargetSPT, unable, "spt tender: no, block device rootfs: -, net device tap: no, net device control: -, executable heap: -"},
		{unikernel.TargetHVT, able, "hvt tender: no, KVM: yes, block device rootfs: -, net device tap: yes, net device control: -, executable heap: -"},
		{unikernel.TargetXen, able, "xen tender: no, block device rootfs: -, net device tap: yes, net device control: -, executable heap: -"},
	}
	for _, c := range cases {
		var got []string
		for _, n := range requirements(t.Context(), &unikernel.Info{Target: c.target, Manifest: devices}, c.host) {
			got = append(got, n.What+": "+n.state())
			if n.state() != "-" && n.state() != "yes" {
				must.NotEq(t, "", n.Hint)
			}
		}
		must.Eq(t, c.want, strings.Join(got, ", "))
	}
}
