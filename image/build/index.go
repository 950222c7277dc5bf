// SPDX-License-Identifier: MPL-2.0

package build

import (
	"bytes"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// index is an index of images. Its members stand in the order in which other tools write
// them. A copy of the index by these tools therefore has the same digest.
type index struct {
	raw    []byte
	parsed *v1.IndexManifest
	images map[v1.Hash]v1.Image
}

// indexEntry is an image of an index, with its description in the index.
type indexEntry struct {
	image       v1.Image
	annotations map[string]string
	platform    v1.Platform
}

func newIndex(entries ...indexEntry) (*index, error) {
	type descriptor struct {
		MediaType   types.MediaType   `json:"mediaType"`
		Digest      v1.Hash           `json:"digest"`
		Size        int64             `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
		Platform    v1.Platform       `json:"platform"`
	}
	var content struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     []descriptor    `json:"manifests"`
	}
	content.SchemaVersion, content.MediaType = 2, types.OCIImageIndex
	i := &index{images: map[v1.Hash]v1.Image{}}
	for _, e := range entries {
		manifest, err := e.image.RawManifest()
		if err != nil {
			return nil, err
		}
		digest, size, err := v1.SHA256(bytes.NewReader(manifest))
		if err != nil {
			return nil, err
		}
		i.images[digest] = e.image
		content.Manifests = append(content.Manifests, descriptor{types.OCIManifestSchema1, digest, size, e.annotations, e.platform})
	}
	var err error
	if i.raw, err = json.Marshal(content); err != nil {
		return nil, err
	}
	i.parsed, err = v1.ParseIndexManifest(bytes.NewReader(i.raw))
	return i, err
}

// MediaType returns the type of an OCI index.
func (i *index) MediaType() (types.MediaType, error) { return types.OCIImageIndex, nil }

// Digest returns the digest of the index.
func (i *index) Digest() (v1.Hash, error) {
	digest, _, err := v1.SHA256(bytes.NewReader(i.raw))
	return digest, err
}

// Size returns the size of the index in bytes.
func (i *index) Size() (int64, error) { return int64(len(i.raw)), nil }

// IndexManifest returns the parsed index.
func (i *index) IndexManifest() (*v1.IndexManifest, error) { return i.parsed, nil }

// RawManifest returns the index in JSON.
func (i *index) RawManifest() ([]byte, error) { return i.raw, nil }

// Image returns an image of the index.
func (i *index) Image(digest v1.Hash) (v1.Image, error) {
	if img, ok := i.images[digest]; ok {
		return img, nil
	}
	return nil, fmt.Errorf("the index does not contain the image %s", digest)
}

// ImageIndex returns an error: the index contains no other index.
func (i *index) ImageIndex(digest v1.Hash) (v1.ImageIndex, error) {
	return nil, fmt.Errorf("the index does not contain the index %s", digest)
}
