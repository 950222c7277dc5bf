// SPDX-License-Identifier: MPL-2.0

package archive

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// Annotations of an index by which tools name images.
const (
	refNameAnnotation   = "org.opencontainers.image.ref.name" // the tag, or all of the reference
	imageNameAnnotation = "io.containerd.image.name"          // all of the reference
)

// layoutSource is a source for one image of a layout.
type layoutSource struct {
	blobs
	image v1.Descriptor
	index []byte // index.json, if the image is the index itself
}

func openLayout(from files, location, tag string) (source.Source, error) {
	raw, err := readFile(from, indexName)
	if err != nil {
		return nil, fmt.Errorf("%s is not an OCI layout: %w", location, err)
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %s: %w", source.ErrInvalid, location, indexName, err)
	}
	l := &layoutSource{blobs: blobs{from}}
	if tag == "" && isMultiPlatform(index) {
		l.index = raw
		l.image, err = describe(raw, types.OCIImageIndex)
	} else {
		l.image, err = selectImage(index, tag)
	}
	if err == nil {
		err = source.CheckDescriptor(l.image)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", location, err)
	}
	return l, nil
}

// Resolve returns the descriptor of the image, which the constructor has found.
func (l *layoutSource) Resolve(ctx context.Context) (v1.Descriptor, error) {
	if ctx.Err() != nil {
		return v1.Descriptor{}, context.Cause(ctx)
	}
	return l.image, nil
}

// Manifest returns a manifest, an index or a config.
func (l *layoutSource) Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	if l.index != nil && d.Digest == l.image.Digest {
		return l.index, nil
	}
	return l.blobs.Manifest(ctx, d)
}

// describe returns the descriptor of a manifest or an index.
func describe(raw []byte, mediaType types.MediaType) (v1.Descriptor, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(raw))
	return v1.Descriptor{MediaType: mediaType, Digest: digest, Size: size}, err
}

// isMultiPlatform reports whether an index lists one image for several platforms: several
// manifests without names.
func isMultiPlatform(index *v1.IndexManifest) bool {
	images := imagesOf(index)
	for _, d := range images {
		if d.Platform == nil || len(namesOf(d)) > 0 {
			return false
		}
	}
	return len(images) > 1
}

// imagesOf returns the images of an index without other artifacts, such as signatures. Some
// tools write the media type of an image's config as its artifact type.
func imagesOf(index *v1.IndexManifest) []v1.Descriptor {
	var images []v1.Descriptor
	for _, d := range index.Manifests {
		isImage := d.ArtifactType == "" || types.MediaType(d.ArtifactType).IsConfig()
		if isImage && (d.MediaType.IsImage() || d.MediaType.IsIndex()) {
			images = append(images, d)
		}
	}
	return images
}

// namesOf returns the references and tags of an image in an index.
func namesOf(d v1.Descriptor) []string {
	var names []string
	for _, key := range []string{refNameAnnotation, imageNameAnnotation} {
		if value := d.Annotations[key]; value != "" && !slices.Contains(names, value) {
			names = append(names, value)
		}
	}
	return names
}

// selectImage returns the image of a tag. An image without a tag must be the only one.
func selectImage(index *v1.IndexManifest, tag string) (v1.Descriptor, error) {
	var names []string
	exact, similar := map[v1.Hash]v1.Descriptor{}, map[v1.Hash]v1.Descriptor{}
	for _, d := range imagesOf(index) {
		names = append(names, namesOf(d)...)
		switch {
		case tag == "", d.Digest.String() == strings.TrimPrefix(tag, "@"), slices.Contains(namesOf(d), tag):
			exact[d.Digest] = d
		case slices.ContainsFunc(namesOf(d), func(n string) bool { return isNamed(n, tag) }):
			similar[d.Digest] = d
		}
	}
	if len(exact) == 0 {
		exact = similar
	}
	for _, d := range exact {
		if len(exact) == 1 {
			return d, nil
		}
	}
	return v1.Descriptor{}, selectionError(tag, len(exact), names)
}

// isNamed reports whether a user's text, such as nginx:1.22 or 1.22, names a reference, such
// as docker.io/library/nginx:1.22. The text is the reference's short form or its tag.
func isNamed(reference, wanted string) bool {
	if strings.HasSuffix(reference, ":"+wanted) {
		return true
	}
	a, errA := name.ParseReference(reference)
	b, errB := name.ParseReference(wanted)
	return errA == nil && errB == nil && a.Name() == b.Name()
}

func selectionError(tag string, found int, names []string) error {
	slices.Sort(names)
	names = slices.Compact(names)
	switch {
	case tag == "" && found == 0:
		return fmt.Errorf("%w: it contains no image", source.ErrNotFound)
	case tag == "":
		return fmt.Errorf("%w: it contains %d images: name one of %s", source.ErrInvalid, found, list(names))
	case found == 0 && len(names) == 0:
		return fmt.Errorf("%w: it contains no image with the tag %.80q, and no other tag", source.ErrNotFound, tag)
	case found == 0:
		return fmt.Errorf("%w: it contains no image with the tag %.80q, but %s", source.ErrNotFound, tag, list(names))
	}
	return fmt.Errorf("%w: %d images match %.80q: name one of %s", source.ErrInvalid, found, tag, list(names))
}
