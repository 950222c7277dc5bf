// SPDX-License-Identifier: MPL-2.0

package spec_test

import (
	"encoding/json"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
)

func digestOf(digit string) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(digit, 64)}
}

func manifestOf(layers ...types.MediaType) *v1.Manifest {
	m := &v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Size: 2, Digest: digestOf("c")},
	}
	for _, layer := range layers {
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: layer, Size: 10, Digest: digestOf("1")})
	}
	return m
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	must.NoError(t, err)
	return raw
}

func TestParseManifest_AcceptsDockerAndOCI(t *testing.T) {
	m, err := spec.ParseManifest(encode(t, manifestOf(types.OCILayer, types.OCILayerZStd, types.OCIUncompressedLayer)), types.OCIManifestSchema1)
	must.NoError(t, err)
	must.Len(t, 3, m.Layers)

	docker := manifestOf(types.DockerLayer, types.DockerUncompressedLayer)
	docker.MediaType, docker.Config.MediaType = types.DockerManifestSchema2, types.DockerConfigJSON
	m, err = spec.ParseManifest(encode(t, docker), types.DockerManifestSchema2)
	must.NoError(t, err)
	must.Len(t, 2, m.Layers)
}

func TestParseManifest_RefusesArtifacts(t *testing.T) {
	signature := manifestOf()
	signature.Config.MediaType, signature.ArtifactType = types.OCIEmptyJSON, "application/vnd.example.signature"
	chart := manifestOf()
	chart.Config.MediaType = "application/vnd.example.chart"
	for _, m := range []*v1.Manifest{signature, chart} {
		_, err := spec.ParseManifest(encode(t, m), types.OCIManifestSchema1)
		must.ErrorIs(t, err, spec.ErrNotImage)
		must.StrContains(t, err.Error(), "application/vnd.example")
	}
	for _, mediaType := range []types.MediaType{types.DockerManifestSchema1, types.DockerManifestSchema1Signed, "text/plain", ""} {
		must.ErrorIs(t, spec.CheckMediaType(mediaType), spec.ErrNotImage)
	}
	must.NoError(t, spec.CheckMediaType(types.DockerManifestList))
}

func TestParseManifest_RefusesInvalidManifests(t *testing.T) {
	change := func(f func(*v1.Manifest)) []byte {
		m := manifestOf(types.OCILayer)
		f(m)
		return encode(t, m)
	}
	manyLayers := manifestOf(make([]types.MediaType, 257)...)
	for name, raw := range map[string][]byte{
		"not JSON":          []byte("{"),
		"another type":      change(func(m *v1.Manifest) { m.MediaType = types.OCIImageIndex }),
		"schema version":    change(func(m *v1.Manifest) { m.SchemaVersion = 1 }),
		"config digest":     change(func(m *v1.Manifest) { m.Config.Digest = v1.Hash{Algorithm: "sha512", Hex: strings.Repeat("a", 128)} }),
		"config size":       change(func(m *v1.Manifest) { m.Config.Size = -1 }),
		"layer size":        change(func(m *v1.Manifest) { m.Layers[0].Size = -1 }),
		"foreign layer":     change(func(m *v1.Manifest) { m.Layers[0].MediaType = types.DockerForeignLayer }),
		"encrypted layer":   change(func(m *v1.Manifest) { m.Layers[0].MediaType += "+encrypted" }),
		"too many layers":   encode(t, manyLayers),
		"manifest as index": []byte(`{"schemaVersion":2,"manifests":[],"config":{}}`),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := spec.ParseManifest(raw, types.OCIManifestSchema1)
			must.ErrorIs(t, err, source.ErrInvalid)
		})
	}
}

func FuzzManifest(f *testing.F) {
	for _, m := range []*v1.Manifest{manifestOf(), manifestOf(types.OCILayer, types.DockerLayer)} {
		raw, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"config":{"digest":"` + strings.Repeat("ä", 10000) + `"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := spec.ParseManifest(raw, types.OCIManifestSchema1)
		if err != nil {
			checkMessage(t, err)
			return
		}
		for _, d := range append(m.Layers, m.Config) {
			if d.Digest.Algorithm != "sha256" || d.Size < 0 {
				t.Fatalf("accepted %+v", d)
			}
		}
	})
}
