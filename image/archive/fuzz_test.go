// SPDX-License-Identifier: MPL-2.0

package archive

import (
	"bytes"
	"io"
	"os"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// FuzzArchive reads a tar file with any content as both kinds of archive. No entry may be
// larger than the file, and all content that a source returns must have its digest.
func FuzzArchive(f *testing.F) {
	for _, seed := range [][]byte{dockerSeed(f), layoutSeed(f)} {
		f.Add(seed)
		f.Add(seed[:len(seed)/2])
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		archive, err := indexTarOf(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return
		}
		for name := range archive.entries {
			if file, err := archive.open(name); err == nil {
				must.LessEq(t, int64(len(content)), file.size)
			}
		}
		if src, err := openLayout(archive, "archive", ""); err == nil {
			checkDigests(t, src)
		}
		if src, err := openDocker(archive, "archive", ""); err == nil {
			checkDigests(t, src)
		}
	})
}

// checkDigests compares everything that a source returns with its descriptor.
func checkDigests(t *testing.T, src source.Source) {
	d, err := src.Resolve(t.Context())
	must.NoError(t, err)
	raw, err := src.Manifest(t.Context(), d)
	if err != nil {
		return
	}
	checkDigest(t, d, raw)
	manifest, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return
	}
	if config, err := src.Manifest(t.Context(), manifest.Config); err == nil {
		checkDigest(t, manifest.Config, config)
	}
	for _, layer := range manifest.Layers {
		r, err := src.Blob(t.Context(), layer)
		if err != nil {
			continue
		}
		content, err := io.ReadAll(r)
		must.NoError(t, r.Close())
		_, isDocker := src.(*dockerSource)
		if err == nil && (!isDocker || layer.MediaType == types.OCIUncompressedLayer) {
			checkDigest(t, layer, content)
		}
	}
}

func checkDigest(t *testing.T, d v1.Descriptor, content []byte) {
	digest, size, err := v1.SHA256(bytes.NewReader(content))
	must.NoError(t, err)
	must.Eq(t, d.Digest, digest)
	must.Eq(t, d.Size, size)
}

// dockerSeed returns an archive of docker save with a compressed layer.
func dockerSeed(f *testing.F) []byte {
	entries := append(dockerEntries(dockerConfig("layer a", "layer b"), "a", "b"),
		entry{name: "a", content: "layer a"}, entry{name: "b", content: compress(f, "layer b")})
	content, err := os.ReadFile(packEntries(f, entries...))
	must.NoError(f, err)
	return content
}

// layoutSeed returns an OCI archive.
func layoutSeed(f *testing.F) []byte {
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		static.NewLayer([]byte("layer a"), types.OCIUncompressedLayer))
	must.NoError(f, err)
	var archive bytes.Buffer
	must.NoError(f, WriteOCIArchive(&archive, img, "1"))
	return archive.Bytes()
}
