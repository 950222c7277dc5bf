// SPDX-License-Identifier: MPL-2.0

package image_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// forPlatform returns the image with another platform in its config.
func forPlatform(t *testing.T, img v1.Image, os, arch string) v1.Image {
	t.Helper()
	file, err := img.ConfigFile()
	must.NoError(t, err)
	file = file.DeepCopy()
	file.OS, file.Architecture = os, arch
	img, err = mutate.ConfigFile(img, file)
	must.NoError(t, err)
	return img
}

func imageWith(t *testing.T, kernel string, entrypoint ...string) v1.Image {
	return newImage(t, v1.Config{Entrypoint: entrypoint}, layer(t, files{"/web.spt": kernel, "/dir/file": "x"}))
}

func TestGet_RefusesImagesBeforeItBuildsAnything(t *testing.T) {
	hvt := kernelOf(unikernel.TargetHVT, "hvt")
	arm := webImage(t, "arm")
	for name, c := range map[string]struct {
		image   remote.Taggable
		is      error
		message string
	}{
		"not Solo5":       {imageWith(t, "#!/bin/sh\n", "/web.spt"), unikernel.ErrNotSolo5, "/web.spt"},
		"hvt":             {imageWith(t, hvt, "/web.spt"), spec.ErrTarget, "hvt"},
		"no entrypoint":   {imageWith(t, hvt), spec.ErrNoKernel, "ENTRYPOINT"},
		"shell":           {imageWith(t, hvt, "/bin/sh", "-c", "/web.spt"), spec.ErrNoKernel, "shell"},
		"missing kernel":  {imageWith(t, hvt, "/other.spt"), spec.ErrNoKernel, "/other.spt"},
		"directory":       {imageWith(t, hvt, "/dir"), spec.ErrNoKernel, "/dir"},
		"other processor": {forPlatform(t, webImage(t, "x"), "linux", "arm64"), spec.ErrPlatform, "linux/arm64"},
		"other processors": {mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
			Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}},
		}), spec.ErrPlatform, "linux/arm64"},
		"other target": {mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
			Add: arm, Descriptor: v1.Descriptor{Annotations: map[string]string{spec.TargetLabel: "hvt"}},
		}), spec.ErrTarget, "hvt"},
		"artifact":      {mutate.ConfigMediaType(webImage(t, "x"), "application/vnd.example"), spec.ErrNotImage, "application/vnd.example"},
		"foreign layer": {foreignLayer(t), source.ErrInvalid, "distributable"},
		"nested index":  {nested(webImage(t, "x"), 5), source.ErrInvalid, "nested"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			dir := t.TempDir()
			store := openStore(t, dir, s)
			_, err := store.Get(t.Context(), image.Request{
				Reference: s.push(t, "web:1", c.image),
				Progress: func(p image.Progress) {
					if p.Stage == image.StageBuilding {
						t.Errorf("it builds")
					}
				},
			})
			must.ErrorIs(t, err, c.is)
			must.ErrorContains(t, err, c.message)
			must.SliceEmpty(t, treeOf(t, dir))
		})
	}
}

func foreignLayer(t *testing.T) v1.Image {
	t.Helper()
	img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: layer(t, files{"/web.spt": lklKernel("x")}), MediaType: types.DockerForeignLayer})
	must.NoError(t, err)
	return img
}

// nested returns an image inside of indexes.
func nested(img v1.Image, depth int) v1.ImageIndex {
	var inner mutate.Appendable = img
	var index v1.ImageIndex
	for range depth {
		index = mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: inner})
		inner = index
	}
	return index
}

func TestGet_FollowsNestedIndexes(t *testing.T) {
	s := newServer(t)
	img := webImage(t, "x")
	e := get(t, openStore(t, t.TempDir(), s), image.Request{Reference: s.push(t, "web:1", nested(img, spec.MaxIndexDepth))})
	must.Eq(t, digestOf(t, img), e.Digest)
}

func TestGet_ComparesLayersWithTheConfig(t *testing.T) {
	s := newServer(t)
	img := webImage(t, "x")
	file, err := img.ConfigFile()
	must.NoError(t, err)
	file = file.DeepCopy()
	file.RootFS.DiffIDs[0].Hex = strings.Repeat("0", 64)
	img, err = mutate.ConfigFile(img, file)
	must.NoError(t, err)
	dir := t.TempDir()
	_, err = openStore(t, dir, s).Get(t.Context(), image.Request{Reference: s.push(t, "web:1", img)})
	must.ErrorIs(t, err, source.ErrInvalid)
	must.ErrorContains(t, err, strings.Repeat("0", 64))
	must.SliceEmpty(t, treeOf(t, dir))
}

func TestGet_ComparesLayersWithTheManifest(t *testing.T) {
	s := newServer(t)
	img := webImage(t, "x")
	ref := s.push(t, "web:1", img)
	layers, err := img.Layers()
	must.NoError(t, err)
	digest, err := layers[0].Digest()
	must.NoError(t, err)
	blob, err := layers[0].Compressed()
	must.NoError(t, err)
	content, err := io.ReadAll(blob)
	must.NoError(t, err)
	for name, change := range map[string]func([]byte) []byte{
		"bit flip":  func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"last byte": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"longer":    func(b []byte) []byte { return append(b, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, digest.String()) {
					return false
				}
				_, err := w.Write(change(append([]byte(nil), content...)))
				return err == nil
			})
			dir := t.TempDir()
			_, err = openStore(t, dir, s).Get(t.Context(), image.Request{Reference: ref})
			must.Error(t, err)
			must.SliceEmpty(t, treeOf(t, dir))
		})
	}
}

func TestGet_TakesTheKernelThatTheJobNames(t *testing.T) {
	s := newServer(t)
	ref := s.push(t, "two:1", newImage(t, v1.Config{Entrypoint: []string{"/a.spt"}, WorkingDir: "/bin"}, layer(t, files{
		"/a.spt": lklKernel("a"), "/bin/b.spt": lklKernel("b"),
	})))
	store := openStore(t, t.TempDir(), s)
	a := get(t, store, image.Request{Reference: ref})
	for _, o := range []spec.Overrides{{Kernel: "/bin/b.spt"}, {Kernel: "/bin/../bin/b.spt"}, {Entrypoint: []string{"b.spt"}}} {
		b := get(t, store, image.Request{Reference: ref, Overrides: o})
		must.Eq(t, "/bin/b.spt", b.KernelPath)
		must.NotEq(t, a.KernelDigest, b.KernelDigest)
	}
	images, err := store.List()
	must.NoError(t, err)
	must.Len(t, 2, images[0].Kernels)
}

func TestGet_BuildsARootIfTheKernelHasABlockDevice(t *testing.T) {
	s := newServer(t)
	store := openStore(t, t.TempDir(), s)
	plain := kernelOf(unikernel.TargetSPT, "plain")
	for name, c := range map[string]struct {
		content files
		hasRoot bool
	}{
		"only a kernel with a disk":       {files{"/web.spt": lklKernel("x")}, true},
		"only a kernel without a disk":    {files{"/web.spt": plain}, false},
		"files and a kernel without disk": {files{"/web.spt": plain, "/README": "text"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			img := newImage(t, v1.Config{Cmd: []string{"/web.spt"}}, layer(t, c.content))
			e := get(t, store, image.Request{Reference: s.push(t, "web:1", img), Policy: image.PolicyAlways})
			must.Eq(t, c.hasRoot, e.RootFile != "")
		})
	}
}
