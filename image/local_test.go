// SPDX-License-Identifier: MPL-2.0

package image_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
)

// writeLayout writes an OCI layout with one image, and returns its path.
func writeLayout(t testing.TB, img v1.Image) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	path, err := layout.Write(dir, empty.Index)
	must.NoError(t, err)
	must.NoError(t, path.AppendImage(img))
	return dir
}

// getLocal returns the unikernel of a local image.
func getLocal(t testing.TB, store *image.Store, reference string, policy image.Policy) (*image.Entry, error) {
	t.Helper()
	ref := parse(t, reference)
	f, err := os.Open(ref.Path())
	must.NoError(t, err)
	e, err := store.Get(t.Context(), image.Request{Reference: ref, Local: f, Policy: policy})
	must.NoError(t, f.Close())
	if err == nil {
		t.Cleanup(func() { must.NoError(t, e.Close()) })
	}
	return e, err
}

func TestGet_ReadsNoLayerOfACachedLayout(t *testing.T) {
	img := webImage(t, "one")
	dir := writeLayout(t, img)
	store := openStore(t, t.TempDir(), nil)
	_, err := getLocal(t, store, "oci:"+dir, image.PolicyNever)
	must.ErrorIs(t, err, image.ErrNotCached)
	e, err := getLocal(t, store, "oci:"+dir, "")
	must.NoError(t, err)
	must.Eq(t, digestOf(t, img), e.Digest)
	must.False(t, e.Cached)
	checkWeb(t, e)

	layers, err := img.Layers()
	must.NoError(t, err)
	digest, err := layers[0].Digest()
	must.NoError(t, err)
	must.NoError(t, os.Remove(filepath.Join(dir, "blobs/sha256", digest.Hex)))
	for _, policy := range append(image.Policies, "") {
		e, err = getLocal(t, store, "oci:"+dir, policy)
		must.NoError(t, err)
		must.True(t, e.Cached)
	}

	images, err := store.List()
	must.NoError(t, err)
	must.SliceEmpty(t, images[0].References) // the path belongs to an alloc
}

func TestGet_ReadsDockerArchives(t *testing.T) {
	img := webImage(t, "one")
	path := filepath.Join(t.TempDir(), "web.tar")
	tag, err := name.NewTag("web:1")
	must.NoError(t, err)
	must.NoError(t, tarball.WriteToFile(path, tag, img))
	dir := t.TempDir()
	store := openStore(t, dir, nil)
	e, err := getLocal(t, store, "docker-archive:"+path, "")
	must.NoError(t, err)
	checkWeb(t, e)

	e, err = getLocal(t, store, "docker-archive:"+path, "")
	must.NoError(t, err)
	must.True(t, e.Cached)
}

func TestGet_NeedsTheFileOfALocalImage(t *testing.T) {
	store := openStore(t, t.TempDir(), nil)
	_, err := store.Get(t.Context(), image.Request{Reference: parse(t, "oci:/images/web")})
	must.Error(t, err)
}

func TestGet_MakesTheSameBytes(t *testing.T) {
	layoutDir := writeLayout(t, webImage(t, "one"))
	var trees [2]map[string]string
	for i := range trees {
		dir := t.TempDir()
		_, err := getLocal(t, openStore(t, dir, nil), "oci:"+layoutDir, "")
		must.NoError(t, err)
		trees[i] = map[string]string{}
		for _, path := range treeOf(t, dir) {
			content, err := os.ReadFile(path)
			if err == nil && filepath.Base(path) != "verified.json" { // it contains inode numbers
				relative, err := filepath.Rel(dir, path)
				must.NoError(t, err)
				trees[i][relative] = string(content)
			}
		}
	}
	must.Eq(t, len(trees[0]), len(trees[1]))
	for path, content := range trees[0] {
		must.True(t, content == trees[1][path], must.Sprint(path))
	}
}
