// SPDX-License-Identifier: MPL-2.0

package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func compress(t testing.TB, content string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := io.WriteString(w, content)
	must.NoError(t, err)
	must.NoError(t, w.Close())
	return out.String()
}

// dockerConfig returns a config with layers.
func dockerConfig(layers ...string) string {
	var ids []string
	for _, layer := range layers {
		ids = append(ids, `"sha256:`+digestOf(layer)+`"`)
	}
	return `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[` + strings.Join(ids, ",") + `]}}`
}

// dockerEntries returns the entries of an archive as docker save wrote it before version
// 25, with the layers at the given paths.
func dockerEntries(config string, layerPaths ...string) []entry {
	quoted, _ := json.Marshal(layerPaths)
	id := digestOf(config)
	return []entry{
		{name: id + ".json", content: config},
		{name: "manifest.json", content: fmt.Sprintf(`[{"Config":"%s.json","RepoTags":["app:1"],"Layers":%s}]`, id, quoted)},
	}
}

func TestOpenDocker_ReadsLinkedLayers(t *testing.T) {
	entries := append([]entry{
		{name: "a/layer.tar", content: "layer a"},
		{name: "b/layer.tar", header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "../a/layer.tar"}},
		{name: "./c/layer.tar", header: tar.Header{Typeflag: tar.TypeLink, Linkname: "a/layer.tar"}},
	}, dockerEntries(dockerConfig("layer a", "layer a", "layer a"), "a/layer.tar", "b/layer.tar", "c/layer.tar")...)
	src, err := open(t, OpenDocker, packEntries(t, entries...), "")
	must.NoError(t, err)
	_, _, layers, err := readAll(src)
	must.NoError(t, err)
	for _, layer := range layers {
		must.Eq(t, "layer a", string(layer))
	}
}

// The identity of an image must not require the layers: a cached start reads no
// layer.
func TestOpenDocker_ResolvesWithoutTheLayers(t *testing.T) {
	config := dockerConfig("layer a")
	resolve := func(layer string) string {
		entries := append(dockerEntries(config, "a/layer.tar"), entry{name: "a/layer.tar", content: layer})
		src, err := open(t, OpenDocker, packEntries(t, entries...), "")
		must.NoError(t, err)
		d, err := src.Resolve(t.Context())
		must.NoError(t, err)
		must.Eq(t, types.OCIManifestSchema1, d.MediaType)
		return d.Digest.String()
	}
	must.Eq(t, resolve("layer a"), resolve("layer b"), must.Sprint("the digest of the layer counts, not its content"))
}

func TestOpenDocker_ReturnsCompressedLayersAsStored(t *testing.T) {
	compressed := compress(t, "layer a")
	entries := append(dockerEntries(dockerConfig("layer a"), "a.tar.gz"), entry{name: "a.tar.gz", content: compressed})
	src, err := open(t, OpenDocker, packEntries(t, entries...), "")
	must.NoError(t, err)
	_, _, layers, err := readAll(src)
	must.NoError(t, err)
	must.Eq(t, compressed, string(layers[0]))
}

func TestOpenDocker_RefusesDamagedArchives(t *testing.T) {
	config := dockerConfig("layer a")
	manifest := func(text string) []entry { return []entry{{name: "manifest.json", content: text}} }
	for name, entries := range map[string][]entry{
		"no manifest":      {{name: "a", content: "b"}},
		"no JSON":          manifest("{"),
		"no image":         manifest("[]"),
		"no config":        manifest(`[{"Config":"x.json"}]`),
		"config above":     manifest(`[{"Config":"../x.json"}]`),
		"manifest is dir":  {{name: "manifest.json", header: tar.Header{Typeflag: tar.TypeDir}}},
		"manifest is FIFO": {{name: "manifest.json", header: tar.Header{Typeflag: tar.TypeFifo}}},
		"manifest is link": {{name: "manifest.json", header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}}},
		"link above":       {{name: "manifest.json", header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "../etc/passwd"}}},
		"cyclic link":      {{name: "manifest.json", header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "manifest.json"}}},
		"layer missing":    dockerEntries(config, "a/layer.tar"),
		"more layers":      append(dockerEntries(config, "a", "a"), entry{name: "a", content: "layer a"}),
		"fewer layers":     append(dockerEntries(config), entry{name: "a", content: "layer a"}),
		"other layer":      append(dockerEntries(config, "a"), entry{name: "a", content: "layer b"}),
		"other config":     append(dockerEntries(config, "a"), entry{name: "a", content: "layer a"}, entry{name: digestOf(config) + ".json", content: config + " "}),
		"ambiguous":        manifest(`[{"Config":"a.json"},{"Config":"b.json"}]`),
	} {
		t.Run(name, func(t *testing.T) {
			src, err := open(t, OpenDocker, packEntries(t, entries...), "")
			if err == nil {
				_, _, _, err = readAll(src)
			}
			must.Error(t, err)
		})
	}
}

func TestIndexTar_UsesTheLastOfDuplicates(t *testing.T) {
	archive := indexOf(t, packEntries(t, entry{name: "a", content: "old"}, entry{name: "./a", content: "new"}))
	f, err := archive.open("a")
	must.NoError(t, err)
	content, err := io.ReadAll(f)
	must.NoError(t, err)
	must.Eq(t, "new", string(content))
}

func indexOf(t *testing.T, path string) *tarArchive {
	t.Helper()
	f, err := os.Open(path)
	must.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	archive, err := indexTar(f)
	must.NoError(t, err)
	return archive
}

func TestIndexTar_HidesPathsOutsideTheArchive(t *testing.T) {
	archive := indexOf(t, packEntries(t, entry{name: "../a", content: "x"}, entry{name: "b/../../c", content: "x"}, entry{name: "d/../e", content: "x"}))
	must.Eq(t, 1, len(archive.entries))
	must.True(t, archive.has("e"))
	_, err := archive.open("../a")
	must.ErrorIs(t, err, source.ErrInvalid)
}

func TestIndexTar_RefusesFloods(t *testing.T) {
	t.Run("entries", func(t *testing.T) {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for i := range maxTarEntries + 1 {
			must.NoError(t, w.WriteHeader(&tar.Header{Name: fmt.Sprint(i), Mode: 0o644, Typeflag: tar.TypeReg}))
		}
		must.NoError(t, w.Close())
		_, err := open(t, OpenOCI, writeFile(t, archive.Bytes()), "")
		must.ErrorIs(t, err, source.ErrInvalid)
		must.ErrorContains(t, err, "entries")
	})
	t.Run("headers", func(t *testing.T) {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for i := range maxHeaderBytes/500_000 + 1 {
			must.NoError(t, w.WriteHeader(&tar.Header{
				Name: fmt.Sprint(i), Mode: 0o644, Typeflag: tar.TypeReg,
				PAXRecords: map[string]string{"LKL.test": strings.Repeat("x", 500_000)},
			}))
		}
		must.NoError(t, w.Close())
		_, err := open(t, OpenOCI, writeFile(t, archive.Bytes()), "")
		must.ErrorIs(t, err, source.ErrInvalid)
		must.ErrorContains(t, err, "headers")
	})
}

func TestIndexTar_RefusesTruncatedArchives(t *testing.T) {
	content, err := os.ReadFile(packEntries(t, entry{name: "index.json", content: strings.Repeat("x", 5000)}))
	must.NoError(t, err)
	for _, size := range []int{0, 100, 511, 512, 1000, 5000} {
		_, err := open(t, OpenOCI, writeFile(t, content[:size]), "")
		must.Error(t, err, must.Sprint(size))
	}
}

func TestIndexTar_RefusesAHugeSize(t *testing.T) {
	content, err := os.ReadFile(packEntries(t, entry{name: "index.json", content: "{}"}))
	must.NoError(t, err)
	for _, size := range []string{"77777777777\x00", "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"} {
		changed := bytes.Clone(content)
		copy(changed[124:], size)
		copy(changed[148:], "        ")
		sum := 0
		for _, b := range changed[:512] {
			sum += int(b)
		}
		copy(changed[148:], fmt.Sprintf("%06o\x00 ", sum))
		_, err := open(t, OpenOCI, writeFile(t, changed), "")
		must.ErrorIs(t, err, source.ErrInvalid)
	}
}

func TestOpen_NamesTheRemedyForACompressedArchive(t *testing.T) {
	path := writeFile(t, []byte(compress(t, "an archive")))
	for _, with := range []opener{OpenOCI, OpenDocker} {
		_, err := open(t, with, path, "")
		must.ErrorIs(t, err, source.ErrInvalid)
		must.ErrorContains(t, err, "gzip")
	}
}

func TestOpen_RefusesADirectoryAsArchive(t *testing.T) {
	_, err := open(t, OpenOCI, t.TempDir(), "")
	must.ErrorIs(t, err, source.ErrInvalid)
}

func TestOpenLayout_RefusesHostileIndexes(t *testing.T) {
	for name, index := range map[string]string{
		"empty":           "",
		"no JSON":         "{",
		"no image":        "{}",
		"negative size":   `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":-1,"digest":"sha256:` + digestOf("") + `"}]}`,
		"other digest":    `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"md5:00"}]}`,
		"no digest":       `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1}]}`,
		"path as digest":  `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"sha256:../../index.json"}]}`,
		"huge":            `{"manifests":[` + strings.Repeat(" ", source.MaxManifestSize) + `]}`,
		"deep":            strings.Repeat(`{"manifests":[`, 100_000),
		"manifest of GiB": `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1073741824,"digest":"sha256:` + digestOf("") + `"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must.NoError(t, os.WriteFile(filepath.Join(dir, indexName), []byte(index), 0o600))
			src, err := open(t, OpenLayout, dir, "")
			if err == nil {
				_, _, _, err = readAll(src)
			}
			must.Error(t, err)
		})
	}
}
