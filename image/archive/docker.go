// SPDX-License-Identifier: MPL-2.0

package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

const dockerManifestName = "manifest.json"

// maxDockerLayers limits the layers of an image. Docker permits 127.
const maxDockerLayers = 1024

// dockerImage is an element of the manifest.json of an archive of docker save.
type dockerImage struct {
	Config   string   // the path of the config
	RepoTags []string // its references
	Layers   []string // their paths
}

// dockerSource is a source for one image of an archive of docker save.
type dockerSource struct {
	files    files
	manifest []byte
	image    v1.Descriptor // of the manifest
	config   []byte
	configID v1.Descriptor
	layers   []dockerLayer
}

// dockerLayer is a layer in the order of the manifest. Its descriptor has the size of the
// file, and the digest of the uncompressed layer.
type dockerLayer struct {
	path       string
	descriptor v1.Descriptor
}

func openDocker(from files, location, reference string) (source.Source, error) {
	raw, err := readFile(from, dockerManifestName)
	if err != nil {
		return nil, fmt.Errorf("%s is not an archive of docker save: %w", location, err)
	}
	var images []dockerImage
	if err := json.Unmarshal(raw, &images); err != nil {
		return nil, fmt.Errorf("%w: %s: %s: %w", source.ErrInvalid, location, dockerManifestName, err)
	}
	image, err := selectDockerImage(images, reference)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", location, err)
	}
	d := &dockerSource{files: from}
	if err := d.read(image); err != nil {
		return nil, fmt.Errorf("%s: %w", location, err)
	}
	return d, nil
}

// selectDockerImage returns the image of a reference. Without a reference, it must be the
// only image.
func selectDockerImage(images []dockerImage, reference string) (dockerImage, error) {
	var names []string
	var exact, similar []dockerImage
	for _, image := range images {
		names = append(names, image.RepoTags...)
		switch {
		case reference == "", slices.Contains(image.RepoTags, reference):
			exact = append(exact, image)
		case slices.ContainsFunc(image.RepoTags, func(tag string) bool { return isNamed(tag, reference) }):
			similar = append(similar, image)
		}
	}
	if len(exact) == 0 {
		exact = similar
	}
	if len(exact) == 1 {
		return exact[0], nil
	}
	return dockerImage{}, selectionError(reference, len(exact), names)
}

// read reads the config, finds the layers, and makes the manifest.
func (d *dockerSource) read(image dockerImage) error {
	var err error
	if d.config, err = readFile(d.files, image.Config); err != nil {
		return fmt.Errorf("the config of the image: %w", err)
	}
	if d.configID, err = describe(d.config, types.DockerConfigJSON); err != nil {
		return err
	}
	if err := checkConfigName(image.Config, d.configID.Digest); err != nil {
		return err
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(d.config))
	if err != nil {
		return fmt.Errorf("%w: the config of the image: %w", source.ErrInvalid, err)
	}
	if len(image.Layers) != len(config.RootFS.DiffIDs) || len(image.Layers) > maxDockerLayers {
		return fmt.Errorf("%w: %d layers, and a config with %d layers: the numbers must be equal, and at most %d",
			source.ErrInvalid, len(image.Layers), len(config.RootFS.DiffIDs), maxDockerLayers)
	}
	for i, diffID := range config.RootFS.DiffIDs {
		layer, err := d.findLayer(image.Layers[i], diffID)
		if err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
		d.layers = append(d.layers, layer)
	}
	return d.makeManifest()
}

// digestInName is the digest in the name of a config file: docker save writes DIGEST.json.
var digestInName = regexp.MustCompile(`^(?:sha256:)?([0-9a-f]{64})(?:\.json)?$`)

// checkConfigName compares a digest with the one in the file's name.
func checkConfigName(name string, digest v1.Hash) error {
	match := digestInName.FindStringSubmatch(path.Base(name))
	if match != nil && match[1] != digest.Hex {
		return fmt.Errorf("%w: the content of %s has the digest %s", source.ErrInvalid, name, digest)
	}
	return nil
}

// findLayer describes a layer by its size and its first bytes.
func (d *dockerSource) findLayer(name string, diffID v1.Hash) (dockerLayer, error) {
	f, err := d.files.open(name)
	if err != nil {
		return dockerLayer{}, err
	}
	defer f.Close()
	start := make([]byte, 4)
	n, err := io.ReadFull(f, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return dockerLayer{}, err
	}
	layer := dockerLayer{name, v1.Descriptor{MediaType: layerType(start[:n]), Digest: diffID, Size: f.size}}
	return layer, source.CheckDescriptor(layer.descriptor)
}

// layerType returns the media type of a layer by its first bytes.
func layerType(start []byte) types.MediaType {
	switch {
	case bytes.HasPrefix(start, []byte("\x1f\x8b")):
		return types.OCILayer
	case bytes.Equal(start, []byte("\x28\xb5\x2f\xfd")):
		return types.OCILayerZStd
	}
	return types.OCIUncompressedLayer
}

// makeManifest makes a manifest that identifies the image by its config and its layers.
func (d *dockerSource) makeManifest() (err error) {
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: d.configID}
	for _, layer := range d.layers {
		manifest.Layers = append(manifest.Layers, layer.descriptor)
	}
	if d.manifest, err = json.Marshal(manifest); err != nil {
		return err
	}
	d.image, err = describe(d.manifest, types.OCIManifestSchema1)
	return err
}

// Resolve returns the descriptor of the manifest that the source has made.
func (d *dockerSource) Resolve(ctx context.Context) (v1.Descriptor, error) {
	if ctx.Err() != nil {
		return v1.Descriptor{}, context.Cause(ctx)
	}
	return d.image, nil
}

// Manifest returns the manifest or the config.
func (d *dockerSource) Manifest(ctx context.Context, wanted v1.Descriptor) ([]byte, error) {
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case wanted.Digest == d.image.Digest:
		return d.manifest, nil
	case wanted.Digest == d.configID.Digest:
		return d.config, nil
	}
	return nil, fmt.Errorf("%w: the archive contains no manifest %s", source.ErrNotFound, wanted.Digest)
}

// Blob opens a layer. See OpenDocker for the digest of a compressed layer.
func (d *dockerSource) Blob(ctx context.Context, wanted v1.Descriptor) (io.ReadCloser, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	i := slices.IndexFunc(d.layers, func(l dockerLayer) bool { return l.descriptor.Digest == wanted.Digest })
	if i < 0 {
		return nil, fmt.Errorf("%w: the archive contains no layer %s", source.ErrNotFound, wanted.Digest)
	}
	layer := d.layers[i]
	f, err := d.files.open(layer.path)
	if err != nil {
		return nil, err
	}
	if layer.descriptor.MediaType != types.OCIUncompressedLayer {
		return f, nil
	}
	verified, err := source.Verify(f, layer.descriptor)
	if err != nil {
		f.Close()
		return nil, err
	}
	return verified, nil
}

// Close does nothing: the caller owns the file.
func (d *dockerSource) Close() error { return nil }
