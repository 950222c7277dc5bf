// SPDX-License-Identifier: MPL-2.0

package spec_test

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
)

func configOf(settings, diffIDs string) []byte {
	return fmt.Appendf(nil, `{"os":"linux","architecture":"amd64","config":{%s},"rootfs":{"type":"layers","diff_ids":[%s]}}`, settings, diffIDs)
}

func TestParseConfig_ReadsDockersFields(t *testing.T) {
	c, err := spec.ParseConfig(configOf(`"Entrypoint":["/x"],"Cmd":["a"],"Env":["A=1","B"],"WorkingDir":"/srv","User":"www",`+
		`"StopSignal":"SIGQUIT","ExposedPorts":{"443/tcp":{},"80/tcp":{}},"Labels":{"org.solo5.target":"spt"}`,
		`"sha256:`+strings.Repeat("a", 64)+`"`), manifestOf(types.OCILayer))
	must.NoError(t, err)
	must.Eq(t, spec.Config{
		Entrypoint: []string{"/x"}, Cmd: []string{"a"}, Env: []string{"A=1", "B"}, WorkingDir: "/srv", User: "www",
		StopSignal: "SIGQUIT", ExposedPorts: []string{"443/tcp", "80/tcp"}, Labels: map[string]string{"org.solo5.target": "spt"},
	}, c.Config)
	must.Eq(t, strings.Repeat("a", 64), c.DiffIDs[0].Hex)
}

func TestParseConfig_RefusesOtherPlatformsAndTargets(t *testing.T) {
	_, err := spec.ParseConfig([]byte(`{"os":"linux","architecture":"arm64"}`), manifestOf())
	must.ErrorIs(t, err, spec.ErrPlatform)
	must.StrContains(t, err.Error(), "linux/arm64\": build the image for linux/amd64")
	_, err = spec.ParseConfig(configOf(`"Labels":{"org.solo5.target":"hvt"}`, ""), manifestOf())
	must.ErrorIs(t, err, spec.ErrTarget)
	_, err = spec.ParseConfig([]byte(`{}`), manifestOf())
	must.NoError(t, err)
}

func TestParseConfig_RefusesInvalidConfigs(t *testing.T) {
	for name, raw := range map[string][]byte{
		"not JSON":          []byte("["),
		"missing layer":     configOf("", `"sha256:`+strings.Repeat("a", 64)+`"`),
		"NUL":               configOf(`"Cmd":["a\u0000b"]`, ""),
		"nameless variable": configOf(`"Env":["=x"]`, ""),
		"too much":          configOf(`"Labels":{"a":"`+strings.Repeat("x", 256<<10)+`"}`, ""),
		"wrong type":        configOf(`"Cmd":7`, ""),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := spec.ParseConfig(raw, manifestOf())
			must.ErrorIs(t, err, source.ErrInvalid)
		})
	}
}

func TestMerge_FollowsDockersRules(t *testing.T) {
	image := spec.Config{
		Entrypoint: []string{"/web.spt", "serve"}, Cmd: []string{"--port", "80"},
		Env: []string{"A=1", "B=2", "A=3", "IGNORED"}, WorkingDir: "srv/../www", User: "www", StopSignal: "SIGQUIT",
	}
	onlyCmd := spec.Config{Cmd: []string{"/web.spt", "serve"}}
	for name, tc := range map[string]struct {
		config spec.Config
		job    spec.Overrides
		kernel string
		args   []string
	}{
		"image":                       {image, spec.Overrides{}, "/web.spt", []string{"serve", "--port", "80"}},
		"args replace CMD":            {image, spec.Overrides{Args: []string{"x"}}, "/web.spt", []string{"serve", "x"}},
		"entrypoint clears CMD":       {image, spec.Overrides{Entrypoint: []string{"/b", "y"}}, "/b", []string{"y"}},
		"entrypoint and args":         {image, spec.Overrides{Entrypoint: []string{"/b"}, Args: []string{"x"}}, "/b", []string{"x"}},
		"kernel keeps the arguments":  {image, spec.Overrides{Kernel: "/debug.spt"}, "/debug.spt", []string{"serve", "--port", "80"}},
		"kernel and args":             {image, spec.Overrides{Kernel: "/debug.spt", Args: []string{"x"}}, "/debug.spt", []string{"serve", "x"}},
		"only CMD":                    {onlyCmd, spec.Overrides{}, "/web.spt", []string{"serve"}},
		"only CMD, args":              {onlyCmd, spec.Overrides{Args: []string{"/b", "x"}}, "/b", []string{"x"}},
		"only CMD, kernel":            {onlyCmd, spec.Overrides{Kernel: "/b"}, "/b", []string{"serve"}},
		"only CMD, kernel and args":   {onlyCmd, spec.Overrides{Kernel: "/b", Args: []string{"x"}}, "/b", []string{"x"}},
		"kernel alone":                {spec.Config{}, spec.Overrides{Kernel: "b"}, "/b", nil},
		"relative to WORKDIR":         {image, spec.Overrides{Entrypoint: []string{"./b"}}, "/www/b", nil},
		"relative to the job's":       {image, spec.Overrides{Entrypoint: []string{"b"}, WorkingDir: "/opt"}, "/opt/b", nil},
		"relative to the root":        {spec.Config{}, spec.Overrides{Entrypoint: []string{"../../b"}}, "/b", nil},
		"kernel instead of a shell":   {spec.Config{Entrypoint: []string{"/bin/sh", "-c", "x"}}, spec.Overrides{Kernel: "/b", Entrypoint: []string{"b", "x"}}, "/b", []string{"x"}},
		"a program with the option c": {spec.Config{Entrypoint: []string{"/python3.spt", "-c", "x"}}, spec.Overrides{}, "/python3.spt", []string{"-c", "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := tc.config.Merge(tc.job)
			must.NoError(t, err)
			must.Eq(t, tc.kernel, p.Kernel)
			must.Eq(t, strings.Join(tc.args, "|"), strings.Join(p.Args, "|"))
		})
	}
	p, err := image.Merge(spec.Overrides{Env: map[string]string{"B": "job", "C": "4"}})
	must.NoError(t, err)
	must.Eq(t, map[string]string{"A": "3", "B": "job", "C": "4"}, p.Env)
	must.Eq(t, []string{"/www", "www", "SIGQUIT"}, []string{p.WorkingDir, p.User, p.StopSignal})
	p, err = image.Merge(spec.Overrides{WorkingDir: "/x", User: "7", StopSignal: "15"})
	must.NoError(t, err)
	must.Eq(t, []string{"/x", "7", "15"}, []string{p.WorkingDir, p.User, p.StopSignal})
}

func TestMerge_RefusesImagesWithoutKernel(t *testing.T) {
	for name, c := range map[string]spec.Config{
		"nothing":    {},
		"empty":      {Entrypoint: []string{""}},
		"root":       {Entrypoint: []string{"/"}},
		"shell":      {Entrypoint: []string{"/bin/sh", "-c", "exec /web.spt"}},
		"bash":       {Cmd: []string{"bash", "-c", "/web.spt"}},
		"cmd of CMD": {Cmd: []string{"/bin/sh", "-c", "/web.spt"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Merge(spec.Overrides{})
			must.ErrorIs(t, err, spec.ErrNoKernel)
		})
	}
}

func TestMerge_LeavesTheInputsUnchanged(t *testing.T) {
	words := make([]string, 1, 8)
	words[0] = "/b"
	config := spec.Config{Entrypoint: words, Cmd: []string{"x"}}
	_, err := config.Merge(spec.Overrides{})
	must.NoError(t, err)
	must.Eq(t, "", words[:2][1])
}

func FuzzConfig(f *testing.F) {
	f.Add(configOf(`"Entrypoint":["/x"],"Cmd":["a"],"Env":["A=1"],"WorkingDir":"/srv","User":"www:7","StopSignal":"SIGRTMIN+3"`, ""), "/k", "a:x:1:2::/:\n")
	f.Add([]byte(`{"config":{"Entrypoint":["/bin/sh","-c",""]}}`), "", "")
	f.Add(configOf(`"Entrypoint":["/`+strings.Repeat("x", 10000)+`/sh","-c",""]`, ""), "", "")
	f.Fuzz(func(t *testing.T, raw []byte, kernel, accounts string) {
		c, err := spec.ParseConfig(raw, manifestOf())
		if err != nil {
			checkMessage(t, err)
			return
		}
		p, err := c.Merge(spec.Overrides{Kernel: kernel})
		if err != nil {
			checkMessage(t, err)
			return
		}
		if !path.IsAbs(p.Kernel) || p.Kernel != path.Clean(p.Kernel) || p.Kernel == "/" {
			t.Fatalf("kernel %q", p.Kernel)
		}
		if _, err := (spec.Accounts{Passwd: accounts, Group: accounts}).LookupUser(p.User); err != nil {
			checkMessage(t, err)
		}
		if sig, err := spec.ParseSignal(p.StopSignal); err == nil && (sig < 1 || sig > 64) {
			t.Fatalf("signal %d of %q", sig, p.StopSignal)
		}
	})
}
