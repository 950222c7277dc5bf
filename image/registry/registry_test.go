// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// A server is a registry in memory, whose answers a test changes.
type server struct {
	*httptest.Server
	host string

	mu       sync.Mutex
	change   func(w http.ResponseWriter, r *http.Request) bool // reports whether it has answered
	requests []*http.Request
}

// serve starts a registry with TLS and HTTP/2, or with plain HTTP. It checks at the end that the
// client has left neither connections nor goroutines.
func serve(t testing.TB, plain bool) *server {
	noGoroutinesLeft(t)
	s := &server{}
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Clone(context.Background()))
		change := s.change
		s.mu.Unlock()
		if change == nil || !change(w, r) {
			images.ServeHTTP(w, r)
		}
	})
	s.Server = httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if plain {
		s.Start()
	} else {
		s.EnableHTTP2 = true
		s.StartTLS()
	}
	t.Cleanup(s.Close)
	_, s.host, _ = strings.Cut(s.URL, "://")
	return s
}

// noGoroutinesLeft registers a check that runs after the cleanups that follow it. There is
// no check in a fuzz test, because go test leaves goroutines of its own when it fuzzes.
func noGoroutinesLeft(t testing.TB) {
	if _, fuzzes := t.(*testing.F); fuzzes {
		return
	}
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		must.Wait(t, testenv.EventuallyTrue(func() bool { return runtime.NumGoroutine() <= before }))
	})
}

// answer sets a function that answers requests instead of the registry, if it returns true.
func (s *server) answer(change func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change = change
	s.requests = nil
}

// answerObjects is answer for all requests but those that ask for the login.
func (s *server) answerObjects(change func(w http.ResponseWriter, r *http.Request) bool) {
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		return r.URL.Path != "/v2/" && change(w, r)
	})
}

// seen returns the method and the path of all requests since answer.
func (s *server) seen() (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		lines = append(lines, r.Method+" "+r.URL.Path)
	}
	return lines
}

// headers returns a header of all requests since answer.
func (s *server) headers(name string) (values []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		values = append(values, r.Header.Get(name))
	}
	return values
}

// caFile writes the certificate of a server with TLS.
func (s *server) caFile(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "ca.pem")
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	must.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// config is the configuration of the server in Options.
func (s *server) config(t testing.TB) Host {
	if s.TLS == nil {
		return Host{PlainHTTP: true}
	}
	return Host{CAFile: s.caFile(t)}
}

// client returns a client of the servers that waits for nothing.
func client(t testing.TB, o Options, servers ...*server) *Client {
	if o.Hosts == nil {
		o.Hosts = map[string]Host{}
	}
	for _, s := range servers {
		o.Hosts[s.host] = s.config(t)
	}
	c, err := New(o)
	must.NoError(t, err)
	c.limits.wait = func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }
	return c
}

func parse(t testing.TB, s string) reference.Reference {
	ref, err := reference.Parse(s)
	must.NoError(t, err)
	return ref
}

// testImage has two layers with random content.
func testImage(t testing.TB) v1.Image {
	layers := []v1.Layer{}
	for _, size := range []int{100_000, 700_000} {
		content := make([]byte, size)
		_, _ = rand.Read(content)
		layers = append(layers, static.NewLayer(content, types.OCILayer))
	}
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
	must.NoError(t, err)
	return mutate.ConfigMediaType(image, types.OCIConfigJSON)
}

// published pushes an image as team/app:1.0.
func published(t *testing.T, s *server) (v1.Image, reference.Reference) {
	image, ref := testImage(t), parse(t, s.host+"/team/app:1.0")
	must.NoError(t, client(t, Options{}, s).Push(t.Context(), ref, nil, image, nil))
	s.answer(nil)
	return image, ref
}

// open returns a source that the end of the test closes.
func open(t testing.TB, c *Client, ref reference.Reference, credentials *Credentials) source.Source {
	src, err := c.Source(ref, credentials)
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, src.Close()) })
	return src
}

// pull reads everything of an image and compares it.
func pull(t *testing.T, src source.Source, want v1.Image) {
	d, err := src.Resolve(t.Context())
	must.NoError(t, err)
	digest, err := want.Digest()
	must.NoError(t, err)
	must.Eq(t, digest, d.Digest)
	must.Eq(t, types.OCIManifestSchema1, d.MediaType)
	content, err := src.Manifest(t.Context(), d)
	must.NoError(t, err)
	var manifest v1.Manifest
	must.NoError(t, json.Unmarshal(content, &manifest))
	config, err := src.Manifest(t.Context(), manifest.Config)
	must.NoError(t, err)
	wantConfig, err := want.RawConfigFile()
	must.NoError(t, err)
	must.Eq(t, string(wantConfig), string(config))
	for _, layer := range manifest.Layers {
		got, err := readBlob(t.Context(), src, layer)
		must.NoError(t, err)
		must.True(t, bytes.Equal(layerContent(t, want, layer.Digest), got))
	}
}

func readBlob(ctx context.Context, src source.Source, d v1.Descriptor) ([]byte, error) {
	blob, err := src.Blob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	return io.ReadAll(blob)
}

func layerContent(t *testing.T, image v1.Image, digest v1.Hash) []byte {
	layer, err := image.LayerByDigest(digest)
	must.NoError(t, err)
	r, err := layer.Compressed()
	must.NoError(t, err)
	content, err := io.ReadAll(r)
	must.NoError(t, err)
	return content
}

func TestSource_ReadsAnImageThatPushHasWritten(t *testing.T) {
	for name, plain := range map[string]bool{"TLS": false, "plain HTTP": true} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, plain)
			image, ref := published(t, s)
			c := client(t, Options{}, s)
			pull(t, open(t, c, ref, nil), image)
			digest, err := image.Digest()
			must.NoError(t, err)
			pull(t, open(t, c, parse(t, s.host+"/team/app@"+digest.String()), nil), image)
		})
	}
}

func TestResolve_MakesOneRequestAfterTheLogin(t *testing.T) {
	s := serve(t, true)
	_, ref := published(t, s)
	_, err := open(t, client(t, Options{}, s), ref, nil).Resolve(t.Context())
	must.NoError(t, err)
	must.Eq(t, []string{"GET /v2/", "HEAD /v2/team/app/manifests/1.0"}, s.seen())
	must.Eq(t, []string{"", ""}, s.headers("Authorization"))
}
