// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// serve serves a file as the source of an artifact. It returns the URL and the checksum.
func serve(t *testing.T, path string) (url, checksum string) {
	t.Helper()
	content, err := os.ReadFile(path)
	must.NoError(t, err)
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(path))))
	t.Cleanup(server.Close)
	return server.URL + "/" + filepath.Base(path), fmt.Sprintf("sha256:%x", sha256.Sum256(content))
}

// serveArchive sets the variables of the example image-archive.
func serveArchive(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hello.tar")
	must.NoError(t, build("oci-archive:"+file, "--kernel", filepath.Join(tools.Guests, "hello.spt")))
	url, checksum := serve(t, file)
	return fmt.Sprintf("source = %q\nchecksum = %q\n", url, checksum)
}

func TestImage_RunsFromFilesOfAnArtifact(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "docker.tar")
	must.NoError(t, tarball.WriteToFile(path, name.MustParseReference("hello:1"), legacyImage(t, "hello", "")))
	dockerArchive, _ := serve(t, path)
	path = filepath.Join(dir, "oci.tar")
	must.NoError(t, build("oci-archive:"+path, "--kernel", filepath.Join(tools.Guests, "hello.spt")))
	ociArchive, _ := serve(t, path)

	for name, tc := range map[string]struct {
		url, image string
		unpack     string // Nomad unpacks archives unless this is "false"
	}{
		"oci-archive":    {ociArchive, "oci-archive:local/image", "false"},
		"docker-archive": {dockerArchive, "docker-archive:local/image", "false"},
		"oci":            {ociArchive, "oci:local/image", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := imageJob(t, tc.image, name)
			artifact := &api.TaskArtifact{GetterSource: ptr(tc.url), RelativeDest: ptr("local/image")}
			if tc.unpack == "false" {
				artifact.GetterMode, artifact.GetterOptions = ptr("file"), map[string]string{"archive": "false"}
			}
			job.TaskGroups[0].Tasks[0].Artifacts = []*api.TaskArtifact{artifact}
			runImage(t, nomad, job, "command line: "+name+"\n")
		})
	}
}

// The shape of the images of 2020: FROM scratch, COPY, ENV, ENTRYPOINT.
func TestImage_RunsTheShapeOf2020(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	image := legacyImage(t, "lkl-python3", filepath.Join(tools.Guests, "lkl-python3.root"))
	dir := t.TempDir()
	archive := filepath.Join(dir, "python3.tar")
	must.NoError(t, tarball.WriteToFile(archive, name.MustParseReference("retrage/lkl-nabla-python3-base:latest"), image))
	oci := filepath.Join(dir, "layout")
	path, err := layout.Write(oci, empty.Index)
	must.NoError(t, err)
	must.NoError(t, path.AppendImage(image))
	n := client(t, "image-2020", 7, fmt.Sprintf("image_paths = [%q]", dir))

	for name, reference := range map[string]string{"docker-archive": "docker-archive:" + archive, "oci": "oci:" + oci} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := bridge(imageJob(t, reference, "-c", "import os, json; print(json.dumps([os.environ['GREETING'], os.getcwd()]))"))
			job.TaskGroups[0].Tasks[0].Resources.MemoryMB = ptr(128)
			runImage(t, n, job, `["good morning", "/"]`)
		})
	}
}

// legacyImage returns an image with a kernel /GUEST.nabla and the files below root in
// one more layer.
func legacyImage(t *testing.T, guest, root string) v1.Image {
	t.Helper()
	kernel, err := os.ReadFile(filepath.Join(tools.Guests, guest+".spt"))
	must.NoError(t, err)
	layers := [][]byte{layer(t, func(w *tar.Writer) error {
		header := tar.Header{Name: guest + ".nabla", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(kernel))}
		if err := w.WriteHeader(&header); err != nil {
			return err
		}
		_, err := w.Write(kernel)
		return err
	})}
	if root != "" {
		layers = append(layers, layer(t, func(w *tar.Writer) error { return w.AddFS(os.DirFS(root)) }))
	}
	var image v1.Image = empty.Image
	for _, content := range layers {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
		must.NoError(t, err)
		image, err = mutate.AppendLayers(image, l)
		must.NoError(t, err)
	}
	return configured(t, image, func(file *v1.ConfigFile) {
		file.OS, file.Architecture = "linux", "amd64"
		file.Config = v1.Config{Entrypoint: []string{"/" + guest + ".nabla"}, Env: []string{"GREETING=good morning"}}
	})
}

// configured returns the image with another config.
func configured(t *testing.T, image v1.Image, change func(*v1.ConfigFile)) v1.Image {
	t.Helper()
	file, err := image.ConfigFile()
	must.NoError(t, err)
	file = file.DeepCopy()
	change(file)
	image, err = mutate.ConfigFile(image, file)
	must.NoError(t, err)
	return image
}

func layer(t *testing.T, write func(*tar.Writer) error) []byte {
	t.Helper()
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	must.NoError(t, write(w))
	must.NoError(t, w.Close())
	return content.Bytes()
}
