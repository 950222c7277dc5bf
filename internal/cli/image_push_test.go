// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/build"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/spdx"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	testregistry "github.com/lkl-nomad/nomad-driver-lkl/testenv/registry"
)

func TestImageBuild_PushesToARegistry(t *testing.T) {
	server, err := testregistry.Start(t.Context(), testregistry.Options{
		Program: testenv.Registry(t), Dir: t.TempDir(), Users: map[string]string{"jane": "secret"},
	})
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, server.Stop()) })
	kernel, ref := writeImageKernel(t, t.TempDir()), server.Host+"/team/app:1"
	push := func(password string) (int, string, string) {
		var out, errs bytes.Buffer
		status := Main(Env{
			Program: Program{Name: "lkl"}, Stdin: strings.NewReader(password + "\n"), Stdout: &out, Stderr: &errs,
		}, []string{
			"image", "build", "--kernel", kernel, "-o", ref, "--plain-http", "--username", "jane", "--password-stdin", "--json",
		})
		return status, out.String(), errs.String()
	}
	status, _, _ := push("wrong")
	must.Eq(t, exitFailed, status)
	status, stdout, stderr := push("secret")
	must.Eq(t, exitOK, status, must.Sprint(stderr))
	var built builtImage
	must.NoError(t, json.Unmarshal([]byte(stdout), &built))

	client, err := registry.New(registry.Options{Hosts: map[string]registry.Host{server.Host: {PlainHTTP: true}}})
	must.NoError(t, err)
	parsed, err := reference.Parse(ref)
	must.NoError(t, err)
	src, err := client.Source(parsed, &registry.Credentials{Username: "jane", Password: "secret"})
	must.NoError(t, err)
	defer func() { must.NoError(t, src.Close()) }()
	d, err := src.Resolve(t.Context())
	must.NoError(t, err)
	must.Eq(t, built.Digest, d.Digest.String())
	sbom, err := build.ReadSBOM(t.Context(), src)
	must.NoError(t, err)
	must.NoError(t, spdx.Check(sbom))
}
