// SPDX-License-Identifier: MPL-2.0

package spec_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
)

// entry returns a descriptor whose digest consists of one repeated digit. The platform has
// the form os/arch or os/arch/variant.
func entry(digit, platform, target, abi string) v1.Descriptor {
	d := v1.Descriptor{
		MediaType: types.OCIManifestSchema1, Size: 100,
		Digest:      v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(digit, 64)},
		Annotations: map[string]string{},
	}
	if platform != "" {
		parts := append(strings.Split(platform, "/"), "")
		d.Platform = &v1.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
	}
	if target != "" {
		d.Annotations[spec.TargetLabel] = target
	}
	if abi != "" {
		d.Annotations[spec.ABILabel] = abi
	}
	return d
}

func indexOf(t *testing.T, entries ...v1.Descriptor) []byte {
	t.Helper()
	raw, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: entries})
	must.NoError(t, err)
	return raw
}

func TestSelectManifest_PrefersTheBestMatch(t *testing.T) {
	nested := entry("b", "", "", "")
	nested.MediaType = types.DockerManifestList
	docker := entry("a", "linux/amd64", "", "")
	docker.MediaType = types.DockerManifestSchema2
	for name, entries := range map[string][]v1.Descriptor{
		"platform":              {entry("1", "linux/arm64", "", ""), docker, entry("2", "windows/amd64", "", "")},
		"no platform":           {entry("1", "linux/arm64", "", ""), entry("a", "", "", "")},
		"first":                 {docker, entry("1", "linux/amd64", "", "")},
		"target":                {entry("1", "linux/amd64", "hvt", "2"), entry("2", "linux/amd64", "", ""), entry("a", "linux/amd64", "spt", "")},
		"ABI":                   {entry("1", "linux/amd64", "spt", "1"), entry("a", "linux/amd64", "spt", "2"), entry("2", "linux/amd64", "spt", "3")},
		"target first":          {entry("1", "linux/amd64", "", "2"), entry("a", "linux/amd64", "spt", "1")},
		"platform stated":       {entry("1", "", "", ""), docker},
		"image, not an index":   {nested, entry("a", "", "", "")},
		"attestation left out":  {entry("1", "unknown/unknown", "", ""), docker},
		"variant":               {entry("1", "linux/arm/v7", "", ""), entry("a", "linux/amd64/v2", "", "")},
		"unlabeled, not hvt":    {entry("1", "linux/amd64", "hvt", ""), docker},
		"unlabeled, not ABI 99": {entry("1", "linux/amd64", "spt", "99"), docker},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := spec.SelectManifest(indexOf(t, entries...))
			must.NoError(t, err)
			must.Eq(t, strings.Repeat("a", 64), d.Digest.Hex)
		})
	}
	d, err := spec.SelectManifest(indexOf(t, entry("1", "linux/arm64", "", ""), nested))
	must.NoError(t, err)
	must.True(t, d.MediaType.IsIndex())
}

func TestSelectManifest_ListsWhatTheIndexHas(t *testing.T) {
	_, err := spec.SelectManifest(indexOf(t, entry("1", "linux/arm64", "", ""), entry("2", "linux/arm/v7", "", ""), entry("3", "linux/arm64", "", "")))
	must.ErrorIs(t, err, spec.ErrPlatform)
	must.StrContains(t, err.Error(), `"linux/arm64", "linux/arm/v7": build the image for linux/amd64`)

	_, err = spec.SelectManifest(indexOf(t, entry("1", "linux/amd64", "hvt", "2"), entry("2", "linux/amd64", "spt", "7")))
	must.ErrorIs(t, err, spec.ErrTarget)
	must.StrContains(t, err.Error(), `"hvt ABI 2", "spt ABI 7"`)

	_, err = spec.SelectManifest(indexOf(t))
	must.ErrorIs(t, err, spec.ErrPlatform)

	chart := entry("1", "", "", "")
	chart.MediaType = "application/vnd.example.chart"
	_, err = spec.SelectManifest(indexOf(t, chart))
	must.ErrorIs(t, err, spec.ErrPlatform)
	must.StrContains(t, err.Error(), "application/vnd.example.chart")
}

func TestSelectManifest_BoundsAndQuotesItsErrors(t *testing.T) {
	var entries []v1.Descriptor
	for i := range 900 {
		entries = append(entries, entry("1", fmt.Sprintf("line\nbreak%d/%s", i, strings.Repeat("x", 200)), "", ""))
	}
	_, err := spec.SelectManifest(indexOf(t, entries...))
	must.ErrorIs(t, err, spec.ErrPlatform)
	must.Less(t, 3000, len(err.Error()))
	must.StrNotContains(t, err.Error(), "\n")
}

func TestSelectManifest_RefusesInvalidIndexes(t *testing.T) {
	tooMany := make([]v1.Descriptor, 1001)
	for i := range tooMany {
		tooMany[i] = entry("1", "linux/amd64", "", "")
	}
	for name, raw := range map[string][]byte{
		"not JSON":        []byte("<html>"),
		"no digest":       []byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":3}]}`),
		"bad digest":      []byte(`{"manifests":[{"digest":"sha256:zz"}]}`),
		"negative size":   []byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":-1,"digest":"sha256:` + strings.Repeat("a", 64) + `"}]}`),
		"index and image": []byte(`{"manifests":[],"layers":[]}`),
		"too many":        indexOf(t, tooMany...),
		"too large":       make([]byte, source.MaxManifestSize+1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := spec.SelectManifest(raw)
			must.ErrorIs(t, err, source.ErrInvalid)
		})
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":3,` +
		`"digest":"sha256:` + strings.Repeat("a", 64) + `","platform":{"os":"linux","architecture":"amd64"},` +
		`"annotations":{"org.solo5.target":"spt","org.solo5.abi":"2"}}]}`))
	f.Add([]byte(`{"manifests":[{"platform":null,"mediaType":""}]}`))
	f.Add([]byte(`{"manifests":[{"digest":"sha256:` + strings.Repeat("a", 63) + `\n"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := spec.SelectManifest(raw)
		if err != nil {
			checkMessage(t, err)
			return
		}
		if d.Digest.Algorithm != "sha256" || d.Size < 0 || (!d.MediaType.IsImage() && !d.MediaType.IsIndex()) {
			t.Fatalf("selected %+v", d)
		}
	})
}

// checkMessage checks that a document can neither break the lines of a log nor flood it.
func checkMessage(t *testing.T, err error) {
	t.Helper()
	const longest = 8 << 10
	if s := err.Error(); strings.ContainsAny(s, "\n\r\x1b") || len(s) > longest {
		t.Fatalf("message of %d bytes: %.500q", len(s), s)
	}
}
