// SPDX-License-Identifier: MPL-2.0

package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lkl-nomad/nomad-driver-lkl/image/archive"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
)

// The SBOM is stored in the format of BuildKit. An index contains the image and a manifest
// for the platform unknown/unknown, whose layer is an in-toto statement. Every registry and
// tool that takes images for several platforms takes such an index. See
// docs/attestations/attestation-storage.md of BuildKit.
const (
	inTotoLayer      = types.MediaType("application/vnd.in-toto+json")
	inTotoStatement  = "https://in-toto.io/Statement/v0.1"
	spdxPredicate    = "https://spdx.dev/Document"
	predicateKey     = "in-toto.io/predicate-type"
	referenceTypeKey = "vnd.docker.reference.type"
	referenceKey     = "vnd.docker.reference.digest"
	attestation      = "attestation-manifest"
	unknown          = "unknown"
)

// ErrNoSBOM is returned for an image without an SBOM.
var ErrNoSBOM = errors.New("the image has no SBOM in SPDX format")

// statement is an in-toto statement about an image.
type statement struct {
	Type          string          `json:"_type"`
	PredicateType string          `json:"predicateType"`
	Subject       []subject       `json:"subject"`
	Predicate     json.RawMessage `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// withSBOM returns an index with an image and its SBOM.
func withSBOM(img v1.Image, o Options) (archive.Manifest, error) {
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(statement{
		Type: inTotoStatement, PredicateType: spdxPredicate,
		Subject:   []subject{{Name: o.Annotations[titleAnnotation], Digest: map[string]string{digest.Algorithm: digest.Hex}}},
		Predicate: o.SBOM,
	})
	if err != nil {
		return nil, fmt.Errorf("the SBOM is not valid JSON: %w", err)
	}
	attached, err := mutate.Append(
		mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON),
		mutate.Addendum{
			Layer: static.NewLayer(content, inTotoLayer), MediaType: inTotoLayer,
			Annotations: map[string]string{predicateKey: spdxPredicate},
		})
	if err != nil {
		return nil, err
	}
	config, err := attached.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = unknown, unknown
	if attached, err = mutate.ConfigFile(attached, config); err != nil {
		return nil, err
	}
	return newIndex(
		indexEntry{img, o.Annotations, v1.Platform{OS: spec.OS, Architecture: spec.Architecture}},
		indexEntry{
			attached,
			map[string]string{referenceTypeKey: attestation, referenceKey: digest.String()},
			v1.Platform{OS: unknown, Architecture: unknown},
		})
}

// ReadSBOM returns the SPDX document of the image for this driver, in JSON, which is
// untrusted. If all images for the platform have another Solo5 target, it returns the
// document of the first.
//
// ErrNoSBOM: the image has no SBOM.
func ReadSBOM(ctx context.Context, src source.Source) ([]byte, error) {
	d, err := src.Resolve(ctx)
	if err != nil {
		return nil, err
	}
	if !d.MediaType.IsIndex() {
		return nil, ErrNoSBOM
	}
	raw, err := src.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	img, err := spec.SelectManifest(raw)
	if err != nil && !errors.Is(err, spec.ErrTarget) {
		return nil, err
	}
	otherTarget := err != nil
	index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", source.ErrInvalid, err)
	}
	if otherTarget {
		img = firstImage(index)
	}
	for _, entry := range index.Manifests {
		if entry.Annotations[referenceTypeKey] == attestation && entry.Annotations[referenceKey] == img.Digest.String() {
			return readAttestation(ctx, src, entry)
		}
	}
	return nil, ErrNoSBOM
}

// firstImage returns the first entry of an index for this platform.
func firstImage(index *v1.IndexManifest) v1.Descriptor {
	for _, entry := range index.Manifests {
		if p := entry.Platform; p == nil || p.OS == spec.OS && p.Architecture == spec.Architecture {
			return entry
		}
	}
	return v1.Descriptor{}
}

// readAttestation returns the SPDX document among the layers of a manifest.
func readAttestation(ctx context.Context, src source.Source, d v1.Descriptor) ([]byte, error) {
	raw, err := src.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", source.ErrInvalid, err)
	}
	for _, l := range manifest.Layers {
		if l.Annotations[predicateKey] != spdxPredicate {
			continue
		}
		r, err := src.Blob(ctx, l)
		if err != nil {
			return nil, err
		}
		defer r.Close() //nolint:revive // the loop ends here
		content, err := source.ReadManifest(r, l)
		if err != nil {
			return nil, err
		}
		var s statement
		if err := json.Unmarshal(content, &s); err != nil {
			return nil, fmt.Errorf("%w: the SBOM: %w", source.ErrInvalid, err)
		}
		return s.Predicate, nil
	}
	return nil, ErrNoSBOM
}
