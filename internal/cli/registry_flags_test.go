// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/registry"
)

func parseRegistryFlags(t *testing.T, args string) *registryFlags {
	t.Helper()
	var r registryFlags
	flags := newFlags()
	r.define(flags)
	must.NoError(t, flags.Parse(strings.Fields(args)))
	return &r
}

func TestRegistryFlags_PasswordComesFromStdin(t *testing.T) {
	r := parseRegistryFlags(t, "--username alice --password-stdin")
	must.NoError(t, r.check())
	for input, want := range map[string]string{"secret\n": "secret", "se cret\r\n": "se cret", "secret": "secret"} {
		got, err := r.credentials(strings.NewReader(input))
		must.NoError(t, err)
		must.Eq(t, &registry.Credentials{Username: "alice", Password: want}, got)
	}
	for _, input := range []string{"", "\n", strings.Repeat("x", maxPassword+1)} {
		_, err := r.credentials(strings.NewReader(input))
		must.Error(t, err)
	}
	got, err := parseRegistryFlags(t, "").credentials(strings.NewReader("not read"))
	must.NoError(t, err)
	must.Nil(t, got)
}

func TestRegistryFlags_NamesOptionsThatExcludeEachOther(t *testing.T) {
	for args, want := range map[string]string{
		"--username alice":               "--username requires --password-stdin",
		"--password-stdin":               "--password-stdin requires --username",
		"--plain-http --ca-file /ca.pem": "--plain-http excludes",
		"--plain-http --skip-verify":     "--plain-http excludes",
	} {
		must.ErrorContains(t, parseRegistryFlags(t, args).check(), want)
	}
	must.NoError(t, parseRegistryFlags(t, "--ca-file /ca.pem --skip-verify").check())
}

func TestRegistryFlags_SendsAPasswordToOneRegistryOnly(t *testing.T) {
	references, err := parseReferences([]string{"a.example.com/x", "oci:/x", "a.example.com/y:1", "b.example.com/x"})
	must.NoError(t, err)
	login := parseRegistryFlags(t, "--username alice --password-stdin")
	_, err = login.client(references[:3])
	must.NoError(t, err)
	_, err = login.client(references)
	must.ErrorContains(t, err, "not for a.example.com and b.example.com")
	_, err = parseRegistryFlags(t, "--skip-verify").client(references)
	must.NoError(t, err)
}

func TestDefaultDockerConfig_IsThatOfDocker(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("DOCKER_CONFIG", "")
	must.Eq(t, "", defaultDockerConfig())
	write := func(elements ...string) string {
		path := filepath.Join(append([]string{home}, elements...)...)
		must.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must.NoError(t, os.WriteFile(path, []byte("{}"), 0o600))
		return path
	}
	must.Eq(t, write(".docker", "config.json"), defaultDockerConfig())
	t.Setenv("DOCKER_CONFIG", filepath.Join(home, "other"))
	must.Eq(t, write("other", "config.json"), defaultDockerConfig())
}
