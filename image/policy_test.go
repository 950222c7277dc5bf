// SPDX-License-Identifier: MPL-2.0

package image_test

import (
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image"
	"github.com/lkl-nomad/nomad-driver-lkl/image/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// gone answers as a registry without the repository does.
func gone(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path == "/v2/" {
		return false
	}
	w.WriteHeader(http.StatusNotFound)
	return true
}

func TestGet_FollowsThePolicyForATag(t *testing.T) {
	s := newServer(t)
	store := openStore(t, t.TempDir(), s)
	first, second := webImage(t, "one"), webImage(t, "two")
	ref := s.push(t, "web:1", first)

	_, err := store.Get(t.Context(), image.Request{Reference: ref, Policy: image.PolicyNever})
	must.ErrorIs(t, err, image.ErrNotCached)
	must.Zero(t, s.counted(""))
	get(t, store, image.Request{Reference: ref, Policy: image.PolicyMissing})
	e := get(t, store, image.Request{Reference: ref, Policy: image.PolicyNever})
	must.True(t, e.Cached)

	s.push(t, "web:1", second) // moves the tag
	e = get(t, store, image.Request{Reference: ref})
	must.Eq(t, digestOf(t, first), e.Digest)
	must.Zero(t, s.counted(""))

	e = get(t, store, image.Request{Reference: ref, Policy: image.PolicyAlways})
	must.Eq(t, digestOf(t, second), e.Digest)
	must.False(t, e.Cached)
	s.counted("")

	e = get(t, store, image.Request{Reference: ref, Policy: image.PolicyAlways})
	must.True(t, e.Cached)
	must.One(t, s.counted("")) // resolves the tag
	e = get(t, store, image.Request{Reference: ref, Policy: image.PolicyMissing})
	must.Eq(t, digestOf(t, second), e.Digest)
	must.Zero(t, s.counted(""))

	s.push(t, "web:1", first) // moves it back to an image that is cached
	e = get(t, store, image.Request{Reference: ref, Policy: image.PolicyAlways})
	must.Eq(t, digestOf(t, first), e.Digest)
	must.True(t, e.Cached)
	must.Zero(t, s.counted("blobs"))
}

func TestGet_ResolvesLatestAtEachStart(t *testing.T) {
	s := newServer(t)
	store := openStore(t, t.TempDir(), s)
	ref := s.push(t, "web", webImage(t, "one"))
	get(t, store, image.Request{Reference: ref})
	s.push(t, "web", webImage(t, "two"))
	must.False(t, get(t, store, image.Request{Reference: ref}).Cached)
}

func TestGet_RefusesUnknownPolicies(t *testing.T) {
	store := openStore(t, t.TempDir(), nil)
	_, err := store.Get(t.Context(), image.Request{Reference: parse(t, "nginx:1"), Policy: "sometimes"})
	must.ErrorContains(t, err, "sometimes")
}

func TestGet_StartsACachedImageWithoutItsRegistry(t *testing.T) {
	s := newServer(t)
	store := openStore(t, t.TempDir(), s)
	ref := s.push(t, "web:1", webImage(t, "one"))
	get(t, store, image.Request{Reference: ref})
	s.intercept(gone)
	_, err := store.Get(t.Context(), image.Request{Reference: ref, Policy: image.PolicyAlways})
	must.ErrorIs(t, err, source.ErrNotFound)
	s.Close()
	must.True(t, get(t, store, image.Request{Reference: ref}).Cached)
}

func TestGet_NeedsNoRegistryForACachedDigest(t *testing.T) {
	s := newServer(t)
	store := openStore(t, t.TempDir(), s)
	img := webImage(t, "one")
	s.push(t, "web:1", img)
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: webImage(t, "arm"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	s.push(t, "web:all", index)

	byIndex := parse(t, s.host()+"/web@"+digestOf(t, index))
	e := get(t, store, image.Request{Reference: byIndex})
	must.Eq(t, digestOf(t, img), e.Digest)
	s.counted("")
	for _, name := range []string{
		s.host() + "/web@" + digestOf(t, index),
		s.host() + "/web@" + digestOf(t, img),
		s.host() + "/web:other@" + digestOf(t, img),
		"elsewhere.example.com/mirror@" + digestOf(t, index),
	} {
		for _, policy := range image.Policies {
			e := get(t, store, image.Request{Reference: parse(t, name), Policy: policy})
			must.True(t, e.Cached)
			must.Eq(t, digestOf(t, img), e.Digest)
		}
	}
	must.Zero(t, s.counted(""))
}

func TestGet_ChecksCredentialsOnlyWithPolicyAlways(t *testing.T) {
	s := newServer(t)
	store := openStore(t, t.TempDir(), s)
	ref := s.push(t, "web:1", webImage(t, "one"))
	s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		if user == "user" && password == "right" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	right, wrong := &registry.Credentials{Username: "user", Password: "right"}, &registry.Credentials{Username: "user", Password: "wrong"}
	_, err := store.Get(t.Context(), image.Request{Reference: ref, Credentials: wrong})
	must.ErrorIs(t, err, source.ErrUnauthorized)
	get(t, store, image.Request{Reference: ref, Credentials: right})
	_, err = store.Get(t.Context(), image.Request{Reference: ref, Credentials: wrong, Policy: image.PolicyAlways})
	must.ErrorIs(t, err, source.ErrUnauthorized)
	must.True(t, get(t, store, image.Request{Reference: ref, Credentials: wrong}).Cached)
}

// Without the files of a cached image, its digest is of no use once the registry has only the
// image to which the tag has moved.
func TestGet_ResolvesATagAgainWhenItsImageIsGone(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	first, second := webImage(t, "one"), webImage(t, "two")
	ref := s.push(t, "web:1", first)
	pull(t, dir, s, ref)
	must.NoError(t, os.Remove(one(t, dir, "entries/*/kernel")))
	s.push(t, "web:1", second)
	s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, digestOf(t, first)) && gone(w, r)
	})
	store := openStore(t, dir, s)
	e := get(t, store, image.Request{Reference: ref, Policy: image.PolicyMissing})
	must.Eq(t, digestOf(t, second), e.Digest)
	must.Eq(t, digestOf(t, second), get(t, store, image.Request{Reference: ref, Policy: image.PolicyNever}).Digest)

	_, err := store.Get(t.Context(), image.Request{Reference: parse(t, s.host()+"/web@"+digestOf(t, first))})
	must.ErrorIs(t, err, source.ErrNotFound)
}

func TestGet_ReportsAFailedAttemptAtTheRegistry(t *testing.T) {
	s := newServer(t)
	ref := s.push(t, "web:1", webImage(t, "one"))
	for _, kind := range []string{"/manifests/", "/blobs/"} {
		var failed atomic.Bool
		s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, kind) || failed.Swap(true) {
				return false
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		})
		var retries []string
		get(t, openStore(t, t.TempDir(), s), image.Request{Reference: ref, Progress: func(p image.Progress) {
			if p.Stage == image.StageRetrying {
				retries = append(retries, p.Retry)
			}
		}})
		must.Eq(t, []string{s.host() + " answers 503 Service Unavailable; attempt 2 of 5"}, retries, must.Sprint(kind))
	}
}

func TestGet_ErrorsNameTheImageOnce(t *testing.T) {
	s := newServer(t)
	ref := parse(t, s.host()+"/web:2")
	_, err := openStore(t, t.TempDir(), s).Get(t.Context(), image.Request{Reference: ref})
	must.ErrorIs(t, err, source.ErrNotFound)
	must.StrHasPrefix(t, "image "+ref.String()+": not found: manifest 2: ", err.Error())
	must.Eq(t, 1, strings.Count(err.Error(), ref.String()))
}
