// SPDX-License-Identifier: MPL-2.0

package image_test

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	client "github.com/lkl-nomad/nomad-driver-lkl/image/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/solo5elf"
)

// kernelOf returns a Solo5 file for a target. Kernels with different words differ.
func kernelOf(target unikernel.Target, word string, devices ...unikernel.Device) string {
	var entries []solo5elf.Entry
	for _, d := range devices {
		entries = append(entries, solo5elf.NewEntry(d.Name, uint32(d.Type)))
	}
	text := solo5elf.Load(unikernel.MinLoadAddress, elf.PF_R|elf.PF_X, []byte("text of "+word))
	file := solo5elf.New(solo5elf.ABI{Target: uint32(target), Version: 2}, unikernel.MinLoadAddress, entries, text)
	return string(file.Bytes())
}

// lklKernel returns the kernel of a guest with a root disk.
func lklKernel(word string) string {
	return kernelOf(unikernel.TargetSPT, word, unikernel.Device{Name: unikernel.DeviceRootfs, Type: unikernel.Block})
}

// files are the regular files of a layer, by path.
type files map[string]string

// layer returns a layer. Its entries are sorted by path.
func layer(t testing.TB, content files) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, path := range sortedKeys(content) {
		must.NoError(t, w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: strings.TrimPrefix(path, "/"), Mode: 0o755, Size: int64(len(content[path])),
		}))
		_, err := io.WriteString(w, content[path])
		must.NoError(t, err)
	}
	must.NoError(t, w.Close())
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	must.NoError(t, err)
	return l
}

// newImage returns an image for linux/amd64.
func newImage(t testing.TB, config v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	must.NoError(t, err)
	file, err := img.ConfigFile()
	must.NoError(t, err)
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", config
	img, err = mutate.ConfigFile(img, file)
	must.NoError(t, err)
	return img
}

// webImage returns an image with the kernel /web.spt and a file.
func webImage(t testing.TB, word string) v1.Image {
	return newImage(t, v1.Config{Entrypoint: []string{"/web.spt"}, Env: []string{"A=1"}}, layer(t, files{
		"/web.spt": lklKernel(word), "/etc/passwd": "www:x:33:34::/srv:\n", "/data": strings.Repeat(word, 5000),
	}))
}

func digestOf(t testing.TB, img interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	d, err := img.Digest()
	must.NoError(t, err)
	return d.String()
}

// server is a registry that counts requests.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string // such as "GET blob"
	// before may be nil. It answers a request instead of the registry if it returns true.
	before func(http.ResponseWriter, *http.Request) bool
}

func newServer(t testing.TB) *server {
	s := &server{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		before := s.before
		for _, kind := range []string{"blobs", "manifests"} {
			if strings.Contains(r.URL.Path, "/"+kind+"/") {
				s.requests = append(s.requests, r.Method+" "+kind)
			}
		}
		s.mu.Unlock()
		if before == nil || !before(w, r) {
			handler.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// intercept sets before.
func (s *server) intercept(before func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

// counted returns the number of requests of a kind since the last call, and forgets them.
func (s *server) counted(kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, r := range s.requests {
		if strings.HasSuffix(r, kind) {
			count++
		}
	}
	s.requests = nil
	return count
}

func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

// push stores an image or an index, and returns its reference.
func (s *server) push(t testing.TB, repository string, img remote.Taggable) reference.Reference {
	t.Helper()
	tag, err := name.ParseReference(s.host()+"/"+repository, name.Insecure)
	must.NoError(t, err)
	switch img := img.(type) {
	case v1.Image:
		must.NoError(t, remote.Write(tag, img))
	case v1.ImageIndex:
		must.NoError(t, remote.WriteIndex(tag, img))
	}
	s.counted("")
	return parse(t, s.host()+"/"+repository)
}

func parse(t testing.TB, s string) reference.Reference {
	t.Helper()
	ref, err := reference.Parse(s)
	must.NoError(t, err)
	return ref
}

// openStore opens a store for the images of a server, which may be nil.
func openStore(t testing.TB, dir string, s *server) *image.Store {
	t.Helper()
	hosts := map[string]client.Host{}
	if s != nil {
		hosts[s.host()] = client.Host{PlainHTTP: true}
	}
	c, err := client.New(client.Options{Hosts: hosts})
	must.NoError(t, err)
	store, err := image.Open(image.Config{Dir: dir, Client: c})
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, store.Close()) })
	return store
}

func get(t testing.TB, store *image.Store, r image.Request) *image.Entry {
	t.Helper()
	e, err := store.Get(t.Context(), r)
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, e.Close()) })
	return e
}

// treeOf lists the files of a store below entries, images, refs, builds and locks.
func treeOf(t testing.TB, dir string) []string {
	t.Helper()
	var paths []string
	for _, pattern := range []string{"*/*", "entries/*/*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		must.NoError(t, err)
		paths = append(paths, found...)
	}
	return paths
}

// namesIn lists a directory of a store.
func namesIn(t testing.TB, dir, name string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, name))
	must.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
