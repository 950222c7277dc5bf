// SPDX-License-Identifier: MPL-2.0

package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
)

// layoutFile is the content of oci-layout.
const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

// A Manifest is a v1.Image or a v1.ImageIndex.
type Manifest interface {
	MediaType() (types.MediaType, error)
	Digest() (v1.Hash, error)
	Size() (int64, error)
	RawManifest() ([]byte, error)
}

// WriteOCIArchive writes an image or an index as an OCI archive. The tag may be empty. The
// same image and tag give the same bytes.
func WriteOCIArchive(w io.Writer, m Manifest, tag string) error {
	stored, err := collect(m)
	if err != nil {
		return err
	}
	index, err := addToIndex(nil, m, tag)
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, small := range []struct{ name, content string }{{layoutName, layoutFile}, {indexName, string(index)}} {
		if err := writeEntry(t, small.name, int64(len(small.content)), strings.NewReader(small.content)); err != nil {
			return err
		}
	}
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return err
		}
	}
	slices.SortFunc(stored, func(a, b storedBlob) int { return strings.Compare(a.digest.Hex, b.digest.Hex) })
	for _, b := range stored {
		if err := b.writeTo(t); err != nil {
			return fmt.Errorf("blob %s: %w", b.digest, err)
		}
	}
	return t.Close()
}

// WriteDockerArchive writes an image in the format of docker save, with compressed layers.
// The reference, such as app:1.0, may be empty.
func WriteDockerArchive(w io.Writer, img v1.Image, reference string) error {
	if reference != "" {
		tag, err := name.NewTag(reference)
		if err != nil {
			return fmt.Errorf("tag %q: %w", reference, err)
		}
		return tarball.Write(tag, img, w)
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	unnamed, err := name.NewDigest("image@" + digest.String())
	if err != nil {
		return err
	}
	return tarball.Write(unnamed, img, w)
}

// WriteOCILayout adds an image or an index to the OCI layout in a directory, which it
// creates. An image with the same tag is replaced; its blobs stay. The image appears when
// all its blobs are complete.
func WriteOCILayout(dir string, m Manifest, tag string) error {
	stored, err := collect(m)
	if err != nil {
		return err
	}
	if err := checkLayoutDir(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755); err != nil {
		return err
	}
	for _, b := range stored {
		if err := b.writeBelow(dir); err != nil {
			return fmt.Errorf("blob %s: %w", b.digest, err)
		}
	}
	lock, err := atomicfile.LockDir(dir)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(lock) }()
	old, err := os.ReadFile(filepath.Join(dir, indexName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	index, err := addToIndex(old, m, tag)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if err := atomicfile.WriteAt(lock, layoutName, []byte(layoutFile), 0o644); err != nil {
		return err
	}
	return atomicfile.WriteAt(lock, indexName, index, 0o644)
}

// checkLayoutDir refuses a directory with other files.
func checkLayoutDir(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	for _, entry := range entries {
		if entry.Name() == layoutName || entry.Name() == "blobs" {
			return nil
		}
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s contains files, but no OCI layout: name another directory", dir)
	}
	return nil
}

// addToIndex returns the index.json of a layout, of which old may be nil, with an image.
func addToIndex(old []byte, m Manifest, tag string) ([]byte, error) {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	if old != nil {
		if err := json.Unmarshal(old, &index); err != nil {
			return nil, fmt.Errorf("%s: %w", indexName, err)
		}
	}
	var d v1.Descriptor
	var err error
	if d.MediaType, err = m.MediaType(); err != nil {
		return nil, err
	}
	if d.Digest, err = m.Digest(); err != nil {
		return nil, err
	}
	if d.Size, err = m.Size(); err != nil {
		return nil, err
	}
	if tag != "" {
		d.Annotations = map[string]string{refNameAnnotation: tag}
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(other v1.Descriptor) bool {
		return other.Annotations[refNameAnnotation] == tag && (tag != "" || other.Digest == d.Digest)
	})
	index.Manifests = append(index.Manifests, d)
	return json.Marshal(index)
}

// storedBlob is a blob of an image that is written.
type storedBlob struct {
	digest v1.Hash
	size   int64
	open   func() (io.ReadCloser, error)
}

func (b storedBlob) writeTo(t *tar.Writer) error {
	r, err := b.open()
	if err != nil {
		return err
	}
	defer r.Close()
	return writeEntry(t, path.Join("blobs", b.digest.Algorithm, b.digest.Hex), b.size, r)
}

func (b storedBlob) writeBelow(dir string) error {
	to := filepath.Join(dir, "blobs", b.digest.Algorithm, b.digest.Hex)
	if info, err := os.Lstat(to); err == nil && info.Mode().IsRegular() && info.Size() == b.size {
		return nil
	}
	r, err := b.open()
	if err != nil {
		return err
	}
	defer r.Close()
	return atomicfile.WriteWith(to, 0o644, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

func writeEntry(t *tar.Writer, name string, size int64, r io.Reader) error {
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}); err != nil {
		return err
	}
	_, err := io.Copy(t, r)
	return err
}

// collect lists the blobs of an image, or of all images of an index, once each.
func collect(m Manifest) ([]storedBlob, error) {
	c := collector{seen: map[v1.Hash]bool{}}
	err := c.add(m)
	return c.blobs, err
}

type collector struct {
	blobs []storedBlob
	seen  map[v1.Hash]bool
}

func (c *collector) add(m Manifest) error {
	var err error
	switch m := m.(type) {
	case v1.Image:
		err = c.addImage(m)
	case v1.ImageIndex:
		err = c.addIndex(m)
	default:
		err = fmt.Errorf("%T is neither an image nor an index", m)
	}
	if err != nil {
		return err
	}
	raw, err := m.RawManifest()
	if err != nil {
		return err
	}
	return c.addBytes(raw)
}

func (c *collector) addIndex(index v1.ImageIndex) error {
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range manifest.Manifests {
		var child Manifest
		if d.MediaType.IsIndex() {
			child, err = index.ImageIndex(d.Digest)
		} else {
			child, err = index.Image(d.Digest)
		}
		if err != nil {
			return err
		}
		if err := c.add(child); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) addImage(img v1.Image) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return err
		}
		size, err := layer.Size()
		if err != nil {
			return err
		}
		c.append(storedBlob{digest, size, layer.Compressed})
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	return c.addBytes(config)
}

func (c *collector) addBytes(content []byte) error {
	digest, size, err := v1.SHA256(bytes.NewReader(content))
	c.append(storedBlob{digest, size, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }})
	return err
}

func (c *collector) append(b storedBlob) {
	if !c.seen[b.digest] {
		c.seen[b.digest] = true
		c.blobs = append(c.blobs, b)
	}
}
