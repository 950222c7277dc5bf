// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
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
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/build"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// An imageServer is a registry in this process.
type imageServer struct {
	*httptest.Server
	handler http.Handler

	mu       sync.Mutex
	requests []string // such as "GET blobs/sha256:…"
	// intercept may answer a request instead of the registry, and then returns true.
	intercept func(http.ResponseWriter, *http.Request) bool
}

func newImageServer(t testing.TB) *imageServer {
	s := &imageServer{handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *imageServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	intercept := s.intercept
	for _, kind := range []string{"blobs", "manifests"} {
		if _, of, found := strings.Cut(r.URL.Path, "/"+kind+"/"); found {
			s.requests = append(s.requests, r.Method+" "+kind+"/"+of)
		}
	}
	s.mu.Unlock()
	if intercept == nil || !intercept(w, r) {
		s.handler.ServeHTTP(w, r)
	}
}

// answerWith sets intercept.
func (s *imageServer) answerWith(intercept func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = intercept
}

// takeRequests returns the requests since the last call.
func (s *imageServer) takeRequests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.requests
	s.requests = nil
	return all
}

func (s *imageServer) host() string { return strings.TrimPrefix(s.URL, "http://") }

// push stores an image and returns its reference, with the host.
func (s *imageServer) push(t testing.TB, reference string, img v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(s.host()+"/"+reference, name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.Write(ref, img))
	s.takeRequests()
	return s.host() + "/" + reference
}

// config returns the configuration of a plugin that uses the registry.
func (s *imageServer) config(t testing.TB) Config {
	return Config{StateDir: t.TempDir(), Registries: []Registry{{Host: s.host(), PlainHTTP: true}}}
}

// newImagePlugin returns a plugin that uses a registry.
func newImagePlugin(t *testing.T) (*testPlugin, *imageServer) {
	testenv.Need(t, testenv.Root, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	s := newImageServer(t)
	return newTestPluginWith(t, s.config(t)), s
}

// guestImage packs a guest of the build into an image, as /guest.spt. The root directory
// may be "".
func guestImage(t testing.TB, guest, root string, config v1.Config) v1.Image {
	t.Helper()
	if !filepath.IsAbs(guest) {
		guest = testenv.Guest(t, guest)
	}
	result, err := build.Build(t.Context(), build.Options{Kernel: guest, Name: "/guest.spt", Root: root, Config: config})
	must.NoError(t, err)
	t.Cleanup(result.Close)
	return result.Image
}

// linuxImage packs a C program of testdata on Linux. The root has users and the directory
// /srv.
func linuxImage(t testing.TB, program string, config v1.Config) v1.Image {
	t.Helper()
	dir := t.TempDir()
	kernel, root := filepath.Join(dir, "kernel"), filepath.Join(dir, "root")
	for _, d := range []string{"srv", "etc"} {
		must.NoError(t, os.MkdirAll(filepath.Join(root, d), 0o777))
	}
	must.NoError(t, os.Chmod(filepath.Join(root, "srv"), 0o777))
	must.NoError(t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("www:x:33:34::/srv:/none\n"), 0o644))
	must.NoError(t, os.WriteFile(filepath.Join(root, "etc/group"), []byte("media:x:77:\n"), 0o644))
	out, err := exec.Command(testenv.Guest(t, "lkl-cc"), "-O1", "-o", kernel, filepath.Join("testdata", program)).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	return guestImage(t, kernel, root, config)
}

// runImage starts a task with an image.
func (p *testPlugin) runImage(t *testing.T, config TaskConfig) (*drivers.TaskConfig, *drivers.TaskHandle) {
	t.Helper()
	task := p.task(t, config, true)
	handle, _, err := p.StartTask(task)
	must.NoError(t, err)
	return task, handle
}

// events returns a channel that receives the messages of a task's events.
func (p *testPlugin) events(t *testing.T, task *drivers.TaskConfig) <-chan string {
	all, err := p.impl.TaskEvents(t.Context())
	must.NoError(t, err)
	messages := make(chan string, maxEvents)
	go func() {
		for event := range all {
			if event.TaskID == task.ID {
				messages <- event.Message
			}
		}
	}()
	return messages
}

// basicAuth refuses requests without a name and a password.
func basicAuth(username, password string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, ok := r.BasicAuth(); ok && u == username && p == password {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		return true
	}
}

// rawImage packs a guest of the build without the checks of package build.
func rawImage(t testing.TB, guest string) v1.Image {
	t.Helper()
	content, err := os.ReadFile(testenv.Guest(t, guest))
	must.NoError(t, err)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "guest", Mode: 0o755, Size: int64(len(content))}))
	_, err = w.Write(content)
	must.NoError(t, err)
	must.NoError(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	must.NoError(t, err)
	img, err := mutate.AppendLayers(empty.Image, layer)
	must.NoError(t, err)
	img, err = mutate.Config(img, v1.Config{Entrypoint: []string{"/guest"}})
	must.NoError(t, err)
	return img
}
