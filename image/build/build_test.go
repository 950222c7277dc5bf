// SPDX-License-Identifier: MPL-2.0

package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/image/archive"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

// writeKernel writes a Solo5 executable for a target.
func writeKernel(t *testing.T, target unikernel.Target) string {
	t.Helper()
	abi := solo5elf.ABI{Target: uint32(target), Version: 2}
	code := solo5elf.Load(unikernel.MinLoadAddress, elf.PF_R|elf.PF_X, bytes.Repeat([]byte("\xf4"), 10_000))
	path := filepath.Join(t.TempDir(), "app.spt")
	must.NoError(t, os.WriteFile(path, solo5elf.New(abi, unikernel.MinLoadAddress, nil, code).Bytes(), 0o600))
	return path
}

// writeRoot writes the files of a root file system.
func writeRoot(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must.NoError(t, os.Chmod(dir, 0o755))
	must.NoError(t, os.MkdirAll(filepath.Join(dir, "etc"), 0o755))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "etc/app.conf"), []byte("a setting"), 0o600))
	must.NoError(t, os.Symlink("app.conf", filepath.Join(dir, "etc/link")))
	return dir
}

func build(t *testing.T, o Options) *Result {
	t.Helper()
	if o.Time.IsZero() {
		o.Time = time.Unix(0, 0)
	}
	img, err := Build(t.Context(), o)
	must.NoError(t, err)
	t.Cleanup(img.Close)
	return img
}

// filesOf returns the contents of the files of an image.
func filesOf(t *testing.T, img v1.Image) map[string]string {
	t.Helper()
	files := map[string]string{}
	all := mutate.Extract(img)
	defer all.Close()
	for r := tar.NewReader(all); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		must.NoError(t, err)
		content, err := io.ReadAll(r)
		must.NoError(t, err)
		files[h.Name] = string(content) + h.Linkname
	}
}

func TestBuild_MakesAValidImage(t *testing.T) {
	kernel := writeKernel(t, unikernel.TargetSPT)
	content, err := os.ReadFile(kernel)
	must.NoError(t, err)
	for _, compression := range []Compression{Gzip, Zstd} {
		img := build(t, Options{
			Kernel: kernel, Name: "/app", Root: writeRoot(t), Compression: compression,
			Config: v1.Config{
				Cmd: []string{"--verbose"}, Env: []string{"A=1"}, WorkingDir: "/etc", User: "1000", StopSignal: "SIGQUIT",
				ExposedPorts: map[string]struct{}{"80/tcp": {}}, Labels: map[string]string{"team": "x"},
			},
			Annotations: map[string]string{"org.opencontainers.image.version": "1.0"},
		})
		if compression == Gzip { // the validator reads no zstd
			must.NoError(t, validate.Image(img.Image))
		}
		raw, err := img.Image.RawManifest()
		must.NoError(t, err)
		manifest, err := spec.ParseManifest(raw, types.OCIManifestSchema1)
		must.NoError(t, err)
		must.Len(t, 2, manifest.Layers)
		must.Eq(t, map[string]string{
			"org.solo5.target": "spt", "org.solo5.abi": "2",
			"org.opencontainers.image.title": "app", "org.opencontainers.image.version": "1.0",
		}, manifest.Annotations)
		rawConfig, err := img.Image.RawConfigFile()
		must.NoError(t, err)
		config, err := spec.ParseConfig(rawConfig, manifest)
		must.NoError(t, err)
		must.Eq(t, spec.Config{
			Entrypoint: []string{"/app"}, Cmd: []string{"--verbose"}, Env: []string{"A=1"}, WorkingDir: "/etc", User: "1000",
			StopSignal: "SIGQUIT", ExposedPorts: []string{"80/tcp"},
			Labels: map[string]string{"org.solo5.target": "spt", "org.solo5.abi": "2", "team": "x"},
		}, config.Config)
		if compression == Gzip {
			files := filesOf(t, img.Image)
			must.Eq(t, string(content), files["app"])
			must.Eq(t, "a setting", files["etc/app.conf"])
			must.Eq(t, "app.conf", files["etc/link"])
		}
	}
}

// The driver must get the files that the image was built from.
func TestBuild_MakesLayersThatTheDriverUnpacks(t *testing.T) {
	for _, compression := range []Compression{Gzip, Zstd} {
		img := build(t, Options{Kernel: writeKernel(t, unikernel.TargetSPT), Name: "/bin/app", Root: writeRoot(t), Compression: compression})
		content, err := disk.NewContent(t.TempDir(), disk.ContentOptions{})
		must.NoError(t, err)
		t.Cleanup(func() { must.NoError(t, content.Close()) })
		layers, err := img.Image.Layers()
		must.NoError(t, err)
		for _, l := range layers {
			r, err := l.Compressed()
			must.NoError(t, err)
			diffID, err := l.DiffID()
			must.NoError(t, err)
			got, err := content.AddLayerWithDigest(t.Context(), r)
			must.NoError(t, err)
			must.Eq(t, diffID.String(), "sha256:"+strings.TrimPrefix(got, "sha256:"))
		}
		setting, err := content.ReadFile("/etc/link", 100)
		must.NoError(t, err)
		must.Eq(t, "a setting", string(setting))
		kernel, err := content.ReadFile("bin/app", 1<<20)
		must.NoError(t, err)
		_, err = unikernel.Read(bytes.NewReader(kernel), int64(len(kernel)))
		must.NoError(t, err)
	}
}

func TestBuild_IsReproducible(t *testing.T) {
	kernel := writeKernel(t, unikernel.TargetSPT)
	digest := func(o Options) v1.Hash {
		o.Kernel, o.Root, o.SBOM = kernel, writeRoot(t), []byte(`{"spdxVersion":"SPDX-2.3"}`)
		digest, err := build(t, o).Complete.Digest()
		must.NoError(t, err)
		return digest
	}
	for _, compression := range []Compression{Gzip, Zstd} {
		must.Eq(t, digest(Options{Compression: compression}), digest(Options{Compression: compression}))
	}
	must.NotEq(t, digest(Options{}), digest(Options{Time: time.Unix(1000, 0)}))
}

// Registries and hosts store the layer of a common root once.
func TestBuild_SharesTheLayerOfTheRoot(t *testing.T) {
	root := writeRoot(t)
	layers := func(target unikernel.Target) []v1.Layer {
		layers, err := build(t, Options{Kernel: writeKernel(t, target), Root: root}).Image.Layers()
		must.NoError(t, err)
		return layers
	}
	spt, hvt := layers(unikernel.TargetSPT), layers(unikernel.TargetHVT)
	same, err := spt[0].Digest()
	must.NoError(t, err)
	other, err := hvt[0].Digest()
	must.NoError(t, err)
	must.Eq(t, same, other)
}

func TestBuild_TakesTarArchives(t *testing.T) {
	kernel, root := writeKernel(t, unikernel.TargetSPT), writeRoot(t)
	var plain, compressed bytes.Buffer
	must.NoError(t, disk.WriteTar(t.Context(), root, &plain, disk.TarOptions{Newest: time.Unix(0, 0)}))
	w := gzip.NewWriter(&compressed)
	_, err := w.Write(plain.Bytes())
	must.NoError(t, err)
	must.NoError(t, w.Close())
	want, err := build(t, Options{Kernel: kernel, Root: root}).Image.Digest()
	must.NoError(t, err)
	for name, content := range map[string][]byte{"root.tar": plain.Bytes(), "root.tar.gz": compressed.Bytes()} {
		path := filepath.Join(t.TempDir(), name)
		must.NoError(t, os.WriteFile(path, content, 0o600))
		got, err := build(t, Options{Kernel: kernel, Root: path}).Image.Digest()
		must.NoError(t, err)
		must.Eq(t, want, got)
	}
}

func TestBuild_RefusesMistakes(t *testing.T) {
	kernel := writeKernel(t, unikernel.TargetSPT)
	whiteout := t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(whiteout, ".wh.file"), nil, 0o600))
	lineBreak := t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(lineBreak, "a\nb"), nil, 0o600))
	text := filepath.Join(t.TempDir(), "text")
	must.NoError(t, os.WriteFile(text, bytes.Repeat([]byte("text"), 1000), 0o600))
	for name, o := range map[string]Options{
		"no kernel":             {Kernel: filepath.Join(t.TempDir(), "missing")},
		"kernel is text":        {Kernel: text},
		"kernel is a directory": {Kernel: whiteout},
		"no root":               {Kernel: kernel, Root: filepath.Join(t.TempDir(), "missing")},
		"root is text":          {Kernel: kernel, Root: text},
		"whiteout":              {Kernel: kernel, Root: whiteout},
		"line break":            {Kernel: kernel, Root: lineBreak},
		"empty name":            {Kernel: kernel, Name: "/"},
		"other entrypoint":      {Kernel: kernel, Config: v1.Config{Entrypoint: []string{"/other"}}},
		"NUL":                   {Kernel: kernel, Config: v1.Config{Env: []string{"A=\x00"}}},
		"compression":           {Kernel: kernel, Compression: "xz"},
		"SBOM is text":          {Kernel: kernel, SBOM: []byte("text")},
	} {
		t.Run(name, func(t *testing.T) {
			o.Time = time.Unix(0, 0)
			_, err := Build(t.Context(), o)
			must.Error(t, err)
		})
	}
	_, err := Build(t.Context(), Options{Kernel: text})
	must.ErrorIs(t, err, unikernel.ErrNotSolo5)
	must.ErrorContains(t, err, "lkl-cc")
}

func TestReadSBOM_ReturnsTheDocument(t *testing.T) {
	const document = `{"spdxVersion":"SPDX-2.3","name":"app"}`
	img := build(t, Options{Kernel: writeKernel(t, unikernel.TargetSPT), SBOM: []byte(document)})
	got, err := ReadSBOM(t.Context(), openArchive(t, img.Complete))
	must.NoError(t, err)
	must.Eq(t, document, string(got))
	_, err = ReadSBOM(t.Context(), openArchive(t, img.Image))
	must.ErrorIs(t, err, ErrNoSBOM)
}

func TestReadSBOM_AcceptsAnotherTarget(t *testing.T) {
	const document = `{"spdxVersion":"SPDX-2.3","name":"app"}`
	img := build(t, Options{Kernel: writeKernel(t, unikernel.TargetHVT), SBOM: []byte(document)})
	got, err := ReadSBOM(t.Context(), openArchive(t, img.Complete))
	must.NoError(t, err)
	must.Eq(t, document, string(got))
}

// The driver must find the image in the index.
func TestBuild_PutsTheImageBeforeItsSBOM(t *testing.T) {
	img := build(t, Options{Kernel: writeKernel(t, unikernel.TargetSPT), SBOM: []byte("{}")})
	index, ok := img.Complete.(v1.ImageIndex)
	must.True(t, ok)
	raw, err := index.RawManifest()
	must.NoError(t, err)
	d, err := spec.SelectManifest(raw)
	must.NoError(t, err)
	digest, err := img.Image.Digest()
	must.NoError(t, err)
	must.Eq(t, digest, d.Digest)
	must.Eq(t, "spt", d.Annotations[spec.TargetLabel])
}

// openArchive writes an image to an OCI archive and opens it.
func openArchive(t *testing.T, m archive.Manifest) source.Source {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image.tar"))
	must.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	must.NoError(t, archive.WriteOCIArchive(f, m, ""))
	src, err := archive.OpenOCI(f, "")
	must.NoError(t, err)
	return src
}
