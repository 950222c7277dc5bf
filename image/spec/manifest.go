// SPDX-License-Identifier: MPL-2.0

package spec

import (
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// CheckMediaType checks the type of the document that a reference names. It returns nil for
// a manifest and for an index, see types.MediaType.IsIndex.
func CheckMediaType(t types.MediaType) error {
	switch {
	case t.IsImage() || t.IsIndex():
		return nil
	case t.IsSchema1():
		return fmt.Errorf("%w: it has the obsolete format %s: push it again with a current tool", ErrNotImage, t)
	default:
		return fmt.Errorf("%w: it has the type %s", ErrNotImage, shortened(string(t)))
	}
}

// ParseManifest parses the manifest of an image, which its descriptor gives a media type.
// All digests and sizes in the result are valid.
//
// ErrNotImage: the manifest describes an artifact, such as a signature or a chart.
func ParseManifest(raw []byte, t types.MediaType) (*v1.Manifest, error) {
	var parsed struct {
		v1.Manifest
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := decode("manifest", raw, &parsed); err != nil {
		return nil, err
	}
	m := &parsed.Manifest
	switch {
	case isPresent(parsed.Manifests):
		// CVE-2021-41190: programs disagree on whether such a document is an index.
		return nil, invalid("the manifest has members of an index too")
	case m.MediaType != "" && m.MediaType != t:
		return nil, invalid("the manifest has the type %s, but its descriptor says %s",
			shortened(string(m.MediaType)), shortened(string(t)))
	case m.SchemaVersion != 2:
		return nil, invalid("the manifest has the schema version %d, must be 2", m.SchemaVersion)
	case m.ArtifactType != "" && !m.Config.MediaType.IsConfig():
		return nil, fmt.Errorf("%w: it is an artifact of type %s", ErrNotImage, shortened(m.ArtifactType))
	case !m.Config.MediaType.IsConfig():
		return nil, fmt.Errorf("%w: its config has the type %s", ErrNotImage, shortened(string(m.Config.MediaType)))
	case len(m.Layers) > maxLayers:
		return nil, invalid("the image has %d layers, and may have %d: build it with fewer steps", len(m.Layers), maxLayers)
	}
	if err := checkDescriptor("config", m.Config); err != nil {
		return nil, err
	}
	for _, layer := range m.Layers {
		if err := checkLayer(layer); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func checkLayer(d v1.Descriptor) error {
	switch d.MediaType {
	case types.OCILayer, types.OCILayerZStd, types.OCIUncompressedLayer, types.DockerLayer, types.DockerUncompressedLayer:
		return checkDescriptor("layer", d)
	}
	if !d.MediaType.IsDistributable() {
		return invalid("the layer %s is not distributable: registries do not store it", d.Digest)
	}
	return invalid("the layer %s has the unsupported type %s", d.Digest, shortened(string(d.MediaType)))
}
