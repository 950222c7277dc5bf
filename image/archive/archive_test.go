// SPDX-License-Identifier: MPL-2.0

package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// newImage returns an image with two layers, whose config has diff IDs.
func newImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(10_000, 2)
	must.NoError(t, err)
	return img
}

// tagged adds a tag to an image in a layout.
func tagged(tag string) layout.Option {
	return layout.WithAnnotations(map[string]string{refNameAnnotation: tag})
}

// writeLayout writes a layout with one image for each tag.
func writeLayout(t *testing.T, images map[string]v1.Image) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	l, err := layout.Write(dir, empty.Index)
	must.NoError(t, err)
	for tag, img := range images {
		var options []layout.Option
		if tag != "" {
			options = append(options, tagged(tag))
		}
		must.NoError(t, l.AppendImage(img, options...))
	}
	return dir
}

// packDir writes the files of a directory to a tar file.
func packDir(t *testing.T, dir string) string {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	must.NoError(t, w.AddFS(os.DirFS(dir)))
	must.NoError(t, w.Close())
	return writeFile(t, archive.Bytes())
}

func writeFile(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	must.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// entry is an entry of a tar file. The size is that of the content if it is 0.
type entry struct {
	name, content string
	header        tar.Header
}

// packEntries writes a tar file.
func packEntries(t testing.TB, entries ...entry) string {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, e := range entries {
		h := e.header
		h.Name, h.Mode = e.name, 0o644
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		h.Size = int64(len(e.content))
		must.NoError(t, w.WriteHeader(&h))
		_, err := io.WriteString(w, e.content)
		must.NoError(t, err)
	}
	must.NoError(t, w.Close())
	return writeFile(t, archive.Bytes())
}

type opener func(*os.File, string) (source.Source, error)

// open opens a file or directory for the length of the test.
func open(t *testing.T, with opener, path, tag string) (source.Source, error) {
	t.Helper()
	f, err := os.Open(path)
	must.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	src, err := with(f, tag)
	if err == nil {
		t.Cleanup(func() { must.NoError(t, src.Close()) })
	}
	return src, err
}

// readAll reads everything of an image, and returns its config and layers.
func readAll(src source.Source) (manifest v1.Descriptor, config []byte, layers [][]byte, err error) {
	ctx := context.Background()
	if manifest, err = src.Resolve(ctx); err != nil {
		return manifest, nil, nil, err
	}
	raw, err := src.Manifest(ctx, manifest)
	if err != nil {
		return manifest, nil, nil, err
	}
	parsed, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return manifest, nil, nil, err
	}
	if config, err = src.Manifest(ctx, parsed.Config); err != nil {
		return manifest, nil, nil, err
	}
	for _, d := range parsed.Layers {
		r, err := src.Blob(ctx, d)
		if err != nil {
			return manifest, nil, nil, err
		}
		content, err := io.ReadAll(r)
		if err := r.Close(); err != nil {
			return manifest, nil, nil, err
		}
		if err != nil {
			return manifest, nil, nil, err
		}
		layers = append(layers, content)
	}
	return manifest, config, layers, nil
}

// mustContain compares everything that a source returns with an image of a layout.
func mustContain(t *testing.T, src source.Source, img v1.Image) {
	t.Helper()
	got, config, layers, err := readAll(src)
	must.NoError(t, err)
	digest, err := img.Digest()
	must.NoError(t, err)
	must.Eq(t, digest, got.Digest)
	wantConfig, err := img.RawConfigFile()
	must.NoError(t, err)
	must.Eq(t, string(wantConfig), string(config))
	want, err := img.Layers()
	must.NoError(t, err)
	must.Len(t, len(want), layers)
	for i := range want {
		r, err := want[i].Compressed()
		must.NoError(t, err)
		content, err := io.ReadAll(r)
		must.NoError(t, err)
		must.True(t, bytes.Equal(content, layers[i]))
	}
}

func TestOpenLayout_ReturnsTheImageOfATag(t *testing.T) {
	one, two := newImage(t), newImage(t)
	dir := writeLayout(t, map[string]v1.Image{"1": one, "example.com/team/two:2": two})
	for _, with := range []struct {
		path string
		opener
	}{{dir, OpenLayout}, {packDir(t, dir), OpenOCI}} {
		for tag, img := range map[string]v1.Image{"1": one, "2": two, "example.com/team/two:2": two} {
			src, err := open(t, with.opener, with.path, tag)
			must.NoError(t, err)
			mustContain(t, src, img)
		}
		_, err := open(t, with.opener, with.path, "3")
		must.ErrorIs(t, err, source.ErrNotFound)
		must.ErrorContains(t, err, `"1", "example.com/team/two:2"`)
		_, err = open(t, with.opener, with.path, "")
		must.ErrorIs(t, err, source.ErrInvalid)
		must.ErrorContains(t, err, "2 images")
	}
}

func TestOpenLayout_NeedsNoTagForOneImage(t *testing.T) {
	img := newImage(t)
	for _, tag := range []string{"", "latest"} {
		dir := writeLayout(t, map[string]v1.Image{tag: img})
		src, err := open(t, OpenLayout, dir, "")
		must.NoError(t, err)
		mustContain(t, src, img)
	}
}

func TestOpenLayout_ReturnsTheIndexOfSeveralPlatforms(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	l, err := layout.Write(dir, empty.Index)
	must.NoError(t, err)
	for _, arch := range []string{"amd64", "arm64"} {
		must.NoError(t, l.AppendImage(newImage(t), layout.WithPlatform(v1.Platform{OS: "linux", Architecture: arch})))
	}
	src, err := open(t, OpenLayout, dir, "")
	must.NoError(t, err)
	d, err := src.Resolve(t.Context())
	must.NoError(t, err)
	must.True(t, d.MediaType.IsIndex())
	raw, err := src.Manifest(t.Context(), d)
	must.NoError(t, err)
	want, err := os.ReadFile(filepath.Join(dir, indexName))
	must.NoError(t, err)
	must.Eq(t, string(want), string(raw))
}

func TestOpenLayout_IgnoresOtherArtifacts(t *testing.T) {
	img := newImage(t)
	dir := writeLayout(t, map[string]v1.Image{"": img})
	path := filepath.Join(dir, indexName)
	raw, err := os.ReadFile(path)
	must.NoError(t, err)
	var index v1.IndexManifest
	must.NoError(t, json.Unmarshal(raw, &index))
	signature := index.Manifests[0]
	signature.Digest.Hex = strings.Repeat("0", 64)
	signature.ArtifactType = "application/vnd.dev.cosign.artifact.sig.v1+json"
	index.Manifests = append(index.Manifests, signature)
	raw, err = json.Marshal(index)
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(path, raw, 0o600))
	src, err := open(t, OpenLayout, dir, "")
	must.NoError(t, err)
	mustContain(t, src, img)
}

func TestOpenLayout_RefusesDamagedBlobs(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"other bytes": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("\x00\x01\x02"), 0)
			f.Close()
			return err
		},
		"truncated": func(path string) error { return os.Truncate(path, 10) },
		"longer":    func(path string) error { return os.Truncate(path, 100_000) },
		"missing":   os.Remove,
		"FIFO": func(path string) error {
			_ = os.Remove(path)
			return unix.Mkfifo(path, 0o600)
		},
		"link out": func(path string) error {
			_ = os.Remove(path)
			return os.Symlink("/etc/passwd", path)
		},
		"link to itself": func(path string) error {
			_ = os.Remove(path)
			return os.Symlink(filepath.Base(path), path)
		},
		"directory": func(path string) error {
			_ = os.Remove(path)
			return os.Mkdir(path, 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeLayout(t, map[string]v1.Image{"": newImage(t)})
			blobs, err := fs.Glob(os.DirFS(dir), "blobs/sha256/*")
			must.NoError(t, err)
			must.Len(t, 4, blobs)
			for _, blob := range blobs {
				path := filepath.Join(dir, blob)
				must.NoError(t, os.Chmod(path, 0o600))
				must.NoError(t, os.Rename(path, path+".kept"))
				content, err := os.ReadFile(path + ".kept")
				must.NoError(t, err)
				must.NoError(t, os.WriteFile(path, content, 0o600))
				must.NoError(t, damage(path))
				src, err := open(t, OpenLayout, dir, "")
				must.NoError(t, err)
				_, _, _, err = readAll(src)
				must.Error(t, err, must.Sprint(blob))
				must.NoError(t, os.RemoveAll(path))
				must.NoError(t, os.Rename(path+".kept", path))
			}
		})
	}
}

func TestOpenLayout_FollowsLinksInsideTheLayout(t *testing.T) {
	img := newImage(t)
	dir := writeLayout(t, map[string]v1.Image{"": img})
	must.NoError(t, os.Rename(filepath.Join(dir, "blobs"), filepath.Join(dir, "shared")))
	must.NoError(t, os.Symlink("shared", filepath.Join(dir, "blobs")))
	src, err := open(t, OpenLayout, dir, "")
	must.NoError(t, err)
	mustContain(t, src, img)
}

func TestOpenDocker_ReadsArchivesOfOtherTools(t *testing.T) {
	img := newImage(t)
	tag, err := name.NewTag("docker.io/library/app:1")
	must.NoError(t, err)
	path := filepath.Join(t.TempDir(), "docker.tar")
	must.NoError(t, tarball.WriteToFile(path, tag, img))
	for _, reference := range []string{"", "app:1", "docker.io/library/app:1", "1"} {
		src, err := open(t, OpenDocker, path, reference)
		must.NoError(t, err)
		_, config, layers, err := readAll(src)
		must.NoError(t, err)
		want, err := img.RawConfigFile()
		must.NoError(t, err)
		must.Eq(t, string(want), string(config))
		must.Len(t, 2, layers)
	}
	_, err = open(t, OpenDocker, path, "other:1")
	must.ErrorIs(t, err, source.ErrNotFound)
	_, err = open(t, OpenOCI, path, "")
	must.ErrorContains(t, err, "docker-archive:")
}

func TestOpenDocker_PrefersTheManifestsOfALayout(t *testing.T) {
	img := newImage(t)
	dir := writeLayout(t, map[string]v1.Image{"1": img})
	must.NoError(t, os.WriteFile(filepath.Join(dir, dockerManifestName), []byte("[]"), 0o600))
	src, err := open(t, OpenDocker, packDir(t, dir), "app:1")
	must.ErrorIs(t, err, source.ErrNotFound)
	must.Nil(t, src)
	src, err = open(t, OpenDocker, packDir(t, dir), "1")
	must.NoError(t, err)
	mustContain(t, src, img)
}

func TestSelectImage_RefusesAnAmbiguousTag(t *testing.T) {
	index, err := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: newImage(t), Descriptor: v1.Descriptor{Annotations: map[string]string{refNameAnnotation: "a:1"}}},
		mutate.IndexAddendum{Add: newImage(t), Descriptor: v1.Descriptor{Annotations: map[string]string{refNameAnnotation: "b:1"}}},
	).IndexManifest()
	must.NoError(t, err)
	_, err = selectImage(index, "1")
	must.ErrorIs(t, err, source.ErrInvalid)
	d, err := selectImage(index, "b:1")
	must.NoError(t, err)
	must.Eq(t, index.Manifests[1].Digest, d.Digest)
	d, err = selectImage(index, index.Manifests[0].Digest.String())
	must.NoError(t, err)
	must.Eq(t, index.Manifests[0].Digest, d.Digest)
}
