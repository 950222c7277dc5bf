// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"debug/elf"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/archive"
	"github.com/lkl-nomad/nomad-driver-lkl/image/build"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/spdx"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

// writeImageKernel writes a Solo5 executable into a directory.
func writeImageKernel(t *testing.T, dir string) string {
	t.Helper()
	abi := solo5elf.ABI{Target: uint32(unikernel.TargetSPT), Version: 2}
	code := solo5elf.Load(unikernel.MinLoadAddress, elf.PF_R|elf.PF_X, []byte("\xf4"))
	path := filepath.Join(dir, "app.spt")
	must.NoError(t, os.WriteFile(path, solo5elf.New(abi, unikernel.MinLoadAddress, nil, code).Bytes(), 0o600))
	return path
}

// readConfig returns the config of an image in a file or a directory, and the digest that
// its reference names.
func readConfig(t *testing.T, ref string) (spec.Config, source.Source, string) {
	t.Helper()
	parsed, err := reference.Parse(ref)
	must.NoError(t, err)
	f, err := os.Open(parsed.Path())
	must.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	src, err := archive.Open(parsed.Transport(), f, parsed.Tag())
	must.NoError(t, err)
	top, err := src.Resolve(t.Context())
	must.NoError(t, err)
	d := top
	raw, err := src.Manifest(t.Context(), d)
	must.NoError(t, err)
	if d.MediaType.IsIndex() {
		d, err = spec.SelectManifest(raw)
		must.NoError(t, err)
		raw, err = src.Manifest(t.Context(), d)
		must.NoError(t, err)
	}
	manifest, err := spec.ParseManifest(raw, d.MediaType)
	must.NoError(t, err)
	raw, err = src.Manifest(t.Context(), manifest.Config)
	must.NoError(t, err)
	config, err := spec.ParseConfig(raw, manifest)
	must.NoError(t, err)
	return config.Config, src, top.Digest.String()
}

func TestImageBuild_WritesEachFormat(t *testing.T) {
	dir := t.TempDir()
	kernel := writeImageKernel(t, dir)
	root := filepath.Join(dir, "root")
	must.NoError(t, os.Mkdir(root, 0o755))
	for _, output := range []string{"oci-archive:" + dir + "/a.tar:1", "oci:" + dir + "/layout", "docker-archive:" + dir + "/b.tar:app:1"} {
		status, stdout, stderr := runProgram("image", "build", "--kernel", kernel, "--root", root, "--name", "/app",
			"--entrypoint", `["/app", "-c"]`, "--entrypoint", "/etc/app.conf", "--cmd", "start", "--env", "A=1", "--env", "B=",
			"--workdir", "/srv", "--user", "www", "--stop-signal", "SIGQUIT", "--expose", "80", "--expose", "53/udp",
			"--label", "team=x", "--annotation", "a=b", "--json", "-o", output)
		must.Eq(t, exitOK, status, must.Sprint(stderr))
		var built builtImage
		must.NoError(t, json.Unmarshal([]byte(stdout), &built))
		config, _, digest := readConfig(t, output)
		must.Eq(t, spec.Config{
			Entrypoint: []string{"/app", "-c", "/etc/app.conf"}, Cmd: []string{"start"}, Env: []string{"A=1", "B="},
			WorkingDir: "/srv", User: "www", StopSignal: "SIGQUIT", ExposedPorts: []string{"53/udp", "80/tcp"},
			Labels: map[string]string{"team": "x", "org.solo5.target": "spt", "org.solo5.abi": "2"},
		}, config)
		if !strings.HasPrefix(output, "docker-archive:") { // its digest is that of uncompressed layers
			must.Eq(t, digest, built.Digest)
		}
		must.Eq(t, "spt", built.Target)
	}
}

func TestImageBuild_GivesTheSameFileAgain(t *testing.T) {
	dir := t.TempDir()
	kernel := writeImageKernel(t, dir)
	var files [2]string
	for i := range files {
		path := filepath.Join(dir, "image.tar")
		status, _, stderr := runProgram("image", "build", "--kernel", kernel, "-o", "oci-archive:"+path)
		must.Eq(t, exitOK, status, must.Sprint(stderr))
		content, err := os.ReadFile(path)
		must.NoError(t, err)
		files[i] = string(content)
	}
	must.True(t, files[0] == files[1])
}

func TestImageBuild_AttachesAnSBOM(t *testing.T) {
	dir := t.TempDir()
	kernel := writeImageKernel(t, dir)
	output := "oci-archive:" + filepath.Join(dir, "image.tar")
	sbomOf := func(args ...string) ([]byte, error) {
		status, _, stderr := runProgram(append([]string{"image", "build", "--kernel", kernel, "-o", output}, args...)...)
		must.Eq(t, exitOK, status, must.Sprint(stderr))
		_, src, _ := readConfig(t, output)
		return build.ReadSBOM(t.Context(), src)
	}
	minimal, err := sbomOf()
	must.NoError(t, err)
	must.NoError(t, spdx.Check(minimal))
	must.StrContains(t, string(minimal), "app.spt")
	_, err = sbomOf("--no-sbom")
	must.ErrorIs(t, err, build.ErrNoSBOM)
	status, _, stderr := runProgram("image", "sbom", output)
	must.Eq(t, exitFailed, status)
	must.StrContains(t, stderr, "no SBOM")
	document := `{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"n","documentNamespace":"https://example.com/n"}`
	must.NoError(t, os.WriteFile(filepath.Join(dir, "app.spdx.json"), []byte(document), 0o600))
	found, err := sbomOf()
	must.NoError(t, err)
	must.Eq(t, document, string(found), must.Sprint("the file beside the kernel"))
	status, stdout, stderr := runProgram("image", "sbom", output)
	must.Eq(t, exitOK, status, must.Sprint(stderr))
	must.StrContains(t, stdout, `"spdxVersion": "SPDX-2.3"`)
	given, err := sbomOf("--sbom", filepath.Join(dir, "app.spdx.json"))
	must.NoError(t, err)
	must.Eq(t, document, string(given))
}

func TestImageBuild_WarnsAboutAKernelForAnotherTarget(t *testing.T) {
	output := "oci-archive:" + filepath.Join(t.TempDir(), "image.tar")
	for guest, warns := range map[string]bool{"hello.hvt": true, "hello.spt": false} {
		status, _, stderr := runProgram("image", "build", "--kernel", testenv.Guest(t, guest), "-o", output)
		must.Eq(t, exitOK, status)
		must.Eq(t, warns, strings.Contains(stderr, "target hvt, but the driver only runs spt"), must.Sprint(stderr))
		status, stdout, stderr := runProgram("image", "sbom", output)
		must.Eq(t, exitOK, status, must.Sprint(stderr))
		must.StrContains(t, stdout, guest)
	}
}

func TestImageBuild_ExitsByTheKindOfMistake(t *testing.T) {
	dir := t.TempDir()
	kernel := writeImageKernel(t, dir)
	text := filepath.Join(dir, "text")
	must.NoError(t, os.WriteFile(text, []byte(strings.Repeat("text", 1000)), 0o600))
	output := "oci-archive:" + filepath.Join(dir, "image.tar")
	for _, c := range []struct {
		name, stderr string
		args         []string
		status       int
	}{
		{"no kernel", "--kernel is required", []string{"-o", output}, exitUsage},
		{"no output", "-o is required", []string{"--kernel", kernel}, exitUsage},
		{"operand", `unexpected argument "x"`, []string{"--kernel", kernel, "-o", output, "x"}, exitUsage},
		{"path as output", "prefix", []string{"--kernel", kernel, "-o", "./image.tar"}, exitUsage},
		{"port", "must be a port", []string{"--kernel", kernel, "-o", output, "--expose", "80/x"}, exitUsage},
		{"variable", "NAME=VALUE", []string{"--kernel", kernel, "-o", output, "--env", "A"}, exitUsage},
		{"label", "NAME=VALUE", []string{"--kernel", kernel, "-o", output, "--label", "A"}, exitUsage},
		{"signal", "SIGFOO", []string{"--kernel", kernel, "-o", output, "--stop-signal", "SIGFOO"}, exitUsage},
		{"list", "JSON", []string{"--kernel", kernel, "-o", output, "--cmd", "[x"}, exitUsage},
		{"compression", "gzip or zstd", []string{"--kernel", kernel, "-o", output, "--compression", "xz"}, exitUsage},
		{"zstd for docker", "gzip", []string{"--kernel", kernel, "-o", "docker-archive:x.tar", "--compression", "zstd"}, exitUsage},
		{"two SBOMs", "exclude", []string{"--kernel", kernel, "-o", output, "--sbom", "x", "--no-sbom"}, exitUsage},
		{"missing kernel", "no such file", []string{"--kernel", dir + "/missing", "-o", output}, exitFailed},
		{"kernel is text", "the file has no ELF header: link the program with lkl-cc", []string{"--kernel", text, "-o", output}, exitRefused},
		{"SBOM is text", "SPDX", []string{"--kernel", kernel, "-o", output, "--sbom", text}, exitFailed},
		{"entrypoint", "first word must be the kernel", []string{"--kernel", kernel, "-o", output, "--entrypoint", "/x"}, exitFailed},
		{"device", "not a regular file", []string{"--kernel", kernel, "-o", "oci-archive:/dev/null"}, exitFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, stdout, stderr := runProgram(append([]string{"image", "build"}, c.args...)...)
			must.Eq(t, c.status, status, must.Sprint(stderr))
			must.StrContains(t, stderr, c.stderr)
			must.Eq(t, "", stdout)
		})
	}
	_, err := os.Stat(filepath.Join(dir, "image.tar"))
	must.ErrorIs(t, err, os.ErrNotExist)
	t.Setenv("SOURCE_DATE_EPOCH", "today")
	status, _, stderr := runProgram("image", "build", "--kernel", kernel, "-o", output)
	must.Eq(t, exitUsage, status)
	must.StrContains(t, stderr, "SOURCE_DATE_EPOCH")
}
