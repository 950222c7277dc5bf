// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
	debian "github.com/lkl-nomad/nomad-driver-lkl/testenv/registry"
)

// The real registry checks both directions of the protocol.
func TestPush_WritesToDebiansRegistry(t *testing.T) {
	program := testenv.Registry(t)
	for name, users := range map[string]map[string]string{"open": nil, "with users": {"anna": testSecret}} {
		t.Run(name, func(t *testing.T) {
			noGoroutinesLeft(t)
			r, err := debian.Start(t.Context(), debian.Options{Program: program, Dir: t.TempDir(), Users: users})
			must.NoError(t, err)
			t.Cleanup(func() { must.NoError(t, r.Stop()) })
			c := client(t, Options{Hosts: map[string]Host{r.Host: {PlainHTTP: true}}})
			image, ref := testImage(t), parse(t, r.Host+"/team/app:1.0")
			must.NoError(t, c.Push(t.Context(), ref, testCredentials, image, nil))
			pull(t, open(t, c, ref, testCredentials), image)

			_, err = open(t, c, parse(t, r.Host+"/team/app:2.0"), testCredentials).Resolve(t.Context())
			must.ErrorIs(t, err, source.ErrNotFound)
			must.ErrorContains(t, err, "MANIFEST_UNKNOWN")
			if users == nil {
				return
			}
			for _, wrong := range []*Credentials{nil, {"anna", "wrong"}, {"bert", testSecret}} {
				_, err = open(t, c, ref, wrong).Resolve(t.Context())
				must.ErrorIs(t, err, source.ErrUnauthorized)
				must.ErrorIs(t, c.Push(t.Context(), ref, wrong, image, nil), source.ErrUnauthorized)
			}
		})
	}
}

func TestPush_ContinuesADownloadOfDebiansRegistry(t *testing.T) {
	noGoroutinesLeft(t)
	r, err := debian.Start(t.Context(), debian.Options{Program: testenv.Registry(t), Dir: t.TempDir()})
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, r.Stop()) })
	c := client(t, Options{Hosts: map[string]Host{r.Host: {PlainHTTP: true}}})
	image, ref := testImage(t), parse(t, r.Host+"/team/app:1.0")
	must.NoError(t, c.Push(t.Context(), ref, nil, image, nil))
	manifest, err := image.Manifest()
	must.NoError(t, err)
	d := manifest.Layers[1]

	s, err := c.open(ref, nil, "pull")
	must.NoError(t, err)
	defer s.close()
	b := &blobReader{session: s, ctx: t.Context(), descriptor: d, what: "layer", offset: 1000}
	must.NoError(t, b.resume(nil))
	t.Cleanup(func() { must.NoError(t, b.Close()) })
	rest, err := io.ReadAll(b)
	must.NoError(t, err)
	must.Eq(t, string(layerContent(t, image, d.Digest)[1000:]), string(rest))
	must.False(t, b.noRange)
}

func TestPush_WritesIndexes(t *testing.T) {
	s := serve(t, true)
	c := client(t, Options{}, s)
	images := []v1.Image{testImage(t), testImage(t)}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: images[0]}, mutate.IndexAddendum{Add: images[1]})
	ref := parse(t, s.host+"/team/app:1.0")
	must.NoError(t, c.Push(t.Context(), ref, nil, index, nil))
	src := open(t, c, ref, nil)
	d, err := src.Resolve(t.Context())
	must.NoError(t, err)
	must.Eq(t, types.OCIImageIndex, d.MediaType)
	for _, image := range images {
		digest, err := image.Digest()
		must.NoError(t, err)
		pull(t, open(t, c, parse(t, s.host+"/team/app@"+digest.String()), nil), image)
	}
}

func TestPush_ReportsEachByteOnce(t *testing.T) {
	s := serve(t, true)
	image, ref := testImage(t), parse(t, s.host+"/team/app:1.0")
	var count atomic.Int64
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch && count.Add(1) == 2 {
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	})
	c := client(t, Options{}, s)
	var reports [][2]int64
	progress := func(done, total int64) { reports = append(reports, [2]int64{done, total}) }
	must.NoError(t, c.Push(t.Context(), ref, nil, image, progress))
	pull(t, open(t, c, ref, nil), image)
	config, err := image.RawConfigFile()
	must.NoError(t, err)
	total := int64(100_000 + 700_000 + len(config))
	must.Eq(t, [2]int64{total, total}, reports[len(reports)-1])
	for _, report := range reports {
		must.Between(t, 0, report[0], total)
		must.Eq(t, total, report[1])
	}
	// All blobs are there, and count as uploaded.
	s.answer(nil)
	reports = nil
	must.NoError(t, c.Push(t.Context(), ref, nil, image, progress))
	must.Eq(t, [2]int64{total, total}, reports[len(reports)-1])
	must.False(t, slices.ContainsFunc(s.seen(), func(line string) bool { return strings.HasPrefix(line, "PATCH") }))
}

func TestPush_RetriesFailuresThatPass(t *testing.T) {
	for _, method := range []string{http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodPut} {
		s := serve(t, true)
		image, ref := testImage(t), parse(t, s.host+"/team/app:1.0")
		var count atomic.Int64
		s.answer(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == method && count.Add(1)%2 == 1 {
				hangUp(w)
				return true
			}
			return false
		})
		c := client(t, Options{}, s)
		must.NoError(t, c.Push(t.Context(), ref, nil, image, nil))
		pull(t, open(t, c, ref, nil), image)
	}
}

// Errors about a lost blob advise to push the image again.
func TestPush_UploadsALostBlobOfAManifestThatExists(t *testing.T) {
	s := serve(t, true)
	image, ref := published(t, s)
	manifest, err := image.Manifest()
	must.NoError(t, err)
	lost := "/v2/team/app/blobs/" + manifest.Layers[0].Digest.String()
	uploads := 0
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			uploads++
		}
		if r.Method == http.MethodHead && r.URL.Path == lost {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	})
	must.NoError(t, client(t, Options{}, s).Push(t.Context(), ref, nil, image, nil))
	must.Eq(t, 1, uploads)
}

func TestPush_SendsTheBodyAgainWithANewToken(t *testing.T) {
	s := serve(t, true)
	image, ref := testImage(t), parse(t, s.host+"/team/app:1.0")
	var mu sync.Mutex
	tokens, expired := 0, map[string]bool{}
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/token" {
			tokens++
			_, _ = fmt.Fprintf(w, `{"token": "token%d"}`, tokens)
			return true
		}
		current := r.Header.Get("Authorization") == fmt.Sprintf("Bearer token%d", tokens)
		if first := r.Method == http.MethodPatch && !expired[r.URL.Path]; current && !first {
			return false
		}
		expired[r.URL.Path] = true
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("WWW-Authenticate", bearerChallenge(s.URL))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	c := client(t, Options{}, s)
	must.NoError(t, c.Push(t.Context(), ref, testCredentials, image, nil))
	must.Greater(t, 3, tokens)
	pull(t, open(t, c, ref, testCredentials), image)
}

func TestPush_SendsUploadsElsewhereWithoutCredentials(t *testing.T) {
	s, storage := serve(t, true), serve(t, true)
	image, ref := testImage(t), parse(t, s.host+"/team/app:1.0")
	storage.answer(func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Location", "/next?signature=abc")
		w.WriteHeader(map[string]int{http.MethodPatch: http.StatusAccepted, http.MethodPut: http.StatusCreated}[r.Method])
		return true
	})
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.Method == http.MethodPost:
			w.Header().Set("Location", storage.URL+"/upload?signature=abc")
			w.WriteHeader(http.StatusAccepted)
		case r.Method == http.MethodPut:
			w.WriteHeader(http.StatusCreated)
		default:
			return false
		}
		return true
	})
	must.NoError(t, client(t, Options{}, s, storage).Push(t.Context(), ref, testCredentials, image, nil))
	must.Len(t, 6, storage.seen())
	for _, header := range storage.headers("Authorization") {
		must.Eq(t, "", header)
	}
}

func TestPush_RefusesPlacesForUploads(t *testing.T) {
	for _, location := range []string{"", "http://169.254.169.254/x?" + testSecret, "file:///etc/passwd"} {
		s := serve(t, true)
		s.answer(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost {
				w.Header().Set("Location", location)
				w.WriteHeader(http.StatusAccepted)
			}
			return r.Method == http.MethodPost
		})
		err := client(t, Options{}, s).Push(t.Context(), parse(t, s.host+"/team/app:1.0"), nil, testImage(t), nil)
		must.ErrorIs(t, err, source.ErrUnavailable)
		must.StrNotContains(t, err.Error(), testSecret)
	}
}

func TestPush_RefusesTheDigestOfAnotherImage(t *testing.T) {
	s := serve(t, true)
	ref := parse(t, s.host+"/team/app@sha256:"+strings.Repeat("00", 32))
	must.ErrorContains(t, client(t, Options{}, s).Push(t.Context(), ref, nil, testImage(t), nil), "use a tag")
	must.SliceEmpty(t, s.seen())
	ref = parse(t, "oci:/x")
	must.ErrorContains(t, client(t, Options{}, s).Push(t.Context(), ref, nil, testImage(t), nil), "does not name a registry")
}

func TestPush_EndsWithTheContext(t *testing.T) {
	s := serve(t, true)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("interrupted")
	s.answer(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		cancel(cause)
		<-r.Context().Done()
		return true
	})
	c := client(t, Options{}, s)
	must.ErrorIs(t, c.Push(ctx, parse(t, s.host+"/team/app:1.0"), nil, testImage(t), nil), cause)
}

func TestPush_EndsIfTheRegistryStalls(t *testing.T) {
	s := serve(t, true)
	s.answer(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		return true
	})
	c := client(t, Options{}, s)
	c.limits.commit = 100 * time.Millisecond
	err := c.Push(t.Context(), parse(t, s.host+"/team/app:1.0"), nil, testImage(t), nil)
	must.ErrorIs(t, err, source.ErrUnavailable)
	must.ErrorContains(t, err, "sends no data")
}
