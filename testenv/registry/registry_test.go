// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func start(t *testing.T, users map[string]string) *Registry {
	t.Helper()
	r, err := Start(t.Context(), Options{Program: testenv.Registry(t), Dir: t.TempDir(), Users: users})
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, r.Stop()) })
	return r
}

func push(t *testing.T, r *Registry, repository string, options ...remote.Option) name.Reference {
	t.Helper()
	image, err := random.Image(1000, 1)
	must.NoError(t, err)
	ref, err := name.ParseReference(r.Host+"/"+repository, name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.Write(ref, image, options...))
	return ref
}

// pull reads an image as a task does. The transport's connections end with the test.
func pull(t *testing.T, ref name.Reference) {
	t.Helper()
	image, err := remote.Image(ref)
	must.NoError(t, err)
	layers, err := image.Layers()
	must.NoError(t, err)
	for _, layer := range layers {
		content, err := layer.Compressed()
		must.NoError(t, err)
		must.NoError(t, content.Close())
	}
}

func TestStart_KeepsImagesOverARestart(t *testing.T) {
	r := start(t, nil)
	ref := push(t, r, "team/image:1")
	pull(t, ref)
	must.NoError(t, r.Stop())
	_, err := remote.Image(ref)
	must.ErrorContains(t, err, "connection refused")
	must.NoError(t, r.Start(t.Context()))
	pull(t, ref)
}

func TestStart_UsersNeedTheirPasswords(t *testing.T) {
	r := start(t, map[string]string{"alice": "secret"})
	alice := remote.WithAuth(&authn.Basic{Username: "alice", Password: "secret"})
	ref := push(t, r, "team/image:1", alice)
	_, err := remote.Image(ref, alice)
	must.NoError(t, err)
	for _, other := range []authn.Authenticator{
		authn.Anonymous,
		&authn.Basic{Username: "alice", Password: "wrong"},
	} {
		_, err := remote.Image(ref, remote.WithAuth(other))
		refused, ok := errors.AsType[*transport.Error](err)
		must.True(t, ok, must.Sprint(err))
		must.Eq(t, http.StatusUnauthorized, refused.StatusCode)
	}
}

func TestRequests_CountPulls(t *testing.T) {
	r := start(t, nil)
	ref, other := push(t, r, "team/image:1"), push(t, r, "team/other:1")
	before, err := r.Requests()
	must.NoError(t, err)
	pull(t, ref)
	pull(t, other)
	must.Wait(t, testenv.EventuallyTrue(func() bool {
		all, err := r.Requests()
		must.NoError(t, err)
		of := Of(all[len(before):], "team/image")
		return len(Manifests(of)) == 1 && len(Blobs(of)) == 1
	}))
}

func TestParseRequests_SkipsOtherLines(t *testing.T) {
	got := parseRequests(`time="2026-11-27T19:41:05Z" level=warning msg="a \"GET /v2/x HTTP\" message"
127.0.0.1 - - [27/Nov/2026:19:41:05 +0000] "HEAD /v2/team/a/manifests/1.22 HTTP/1.1" 404 96 "" "agent/1 (x)"
127.0.0.1 - alice [27/Nov/2026:19:41:05 +0000] "GET /v2/team/a/blobs/sha256:12?x=y HTTP/1.1" 200 34 "" ""
`)
	must.Eq(t, []Request{
		{Method: "HEAD", Path: "/v2/team/a/manifests/1.22", Status: 404},
		{Method: "GET", Path: "/v2/team/a/blobs/sha256:12?x=y", Status: 200},
	}, got)
}
