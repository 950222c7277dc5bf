// SPDX-License-Identifier: MPL-2.0

package archive

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

func TestWriteOCIArchive_IsReadBack(t *testing.T) {
	img := newImage(t)
	var first, second bytes.Buffer
	must.NoError(t, WriteOCIArchive(&first, img, "1"))
	must.NoError(t, WriteOCIArchive(&second, img, "1"))
	must.True(t, bytes.Equal(first.Bytes(), second.Bytes()), must.Sprint("same image, same bytes"))
	path := writeFile(t, first.Bytes())
	for _, tag := range []string{"", "1"} {
		src, err := open(t, OpenOCI, path, tag)
		must.NoError(t, err)
		mustContain(t, src, img)
	}
	_, err := open(t, OpenOCI, path, "2")
	must.ErrorIs(t, err, source.ErrNotFound)
}

func TestWriteOCILayout_IsValid(t *testing.T) {
	img := newImage(t)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img}, mutate.IndexAddendum{Add: newImage(t)})
	dir := filepath.Join(t.TempDir(), "layout")
	must.NoError(t, WriteOCILayout(dir, index, "1"))
	read, err := layout.ImageIndexFromPath(dir)
	must.NoError(t, err)
	must.NoError(t, validate.Index(read))
	src, err := open(t, OpenLayout, dir, "1")
	must.NoError(t, err)
	d, err := src.Resolve(t.Context())
	must.NoError(t, err)
	must.True(t, d.MediaType.IsIndex())
}

func TestWriteOCILayout_ReplacesTheImageOfATag(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	first, second, other := newImage(t), newImage(t), newImage(t)
	must.NoError(t, WriteOCILayout(dir, first, "1"))
	must.NoError(t, WriteOCILayout(dir, other, "other"))
	must.NoError(t, WriteOCILayout(dir, second, "1"))
	must.NoError(t, WriteOCILayout(dir, second, "1"))
	for tag, img := range map[string]v1.Image{"1": second, "other": other} {
		src, err := open(t, OpenLayout, dir, tag)
		must.NoError(t, err)
		mustContain(t, src, img)
	}
}

// brokenImage fails while its layers are read.
type brokenImage struct{ v1.Image }

type brokenLayer struct{ v1.Layer }

var errBroken = errors.New("broken layer")

func (b brokenImage) Layers() ([]v1.Layer, error) {
	layers, err := b.Image.Layers()
	return []v1.Layer{brokenLayer{layers[0]}}, err
}

func (brokenLayer) Compressed() (io.ReadCloser, error) { return nil, errBroken }

func TestWriteOCILayout_KeepsTheOldImageAfterAnError(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	img := newImage(t)
	must.NoError(t, WriteOCILayout(dir, img, "1"))
	must.ErrorIs(t, WriteOCILayout(dir, brokenImage{newImage(t)}, "1"), errBroken)
	src, err := open(t, OpenLayout, dir, "1")
	must.NoError(t, err)
	mustContain(t, src, img)
}

func TestWriteOCILayout_RefusesADirectoryWithOtherFiles(t *testing.T) {
	dir := t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(dir, "letter"), nil, 0o600))
	must.ErrorContains(t, WriteOCILayout(dir, newImage(t), ""), "no OCI layout")
	entries, err := os.ReadDir(dir)
	must.NoError(t, err)
	must.Len(t, 1, entries)
}

func TestWriteDockerArchive_IsReadBack(t *testing.T) {
	img := newImage(t)
	for _, reference := range []string{"", "app:1"} {
		var archive bytes.Buffer
		must.NoError(t, WriteDockerArchive(&archive, img, reference))
		src, err := open(t, OpenDocker, writeFile(t, archive.Bytes()), reference)
		must.NoError(t, err)
		_, config, layers, err := readAll(src)
		must.NoError(t, err)
		want, err := img.RawConfigFile()
		must.NoError(t, err)
		must.Eq(t, string(want), string(config))
		must.Len(t, 2, layers)
	}
}
