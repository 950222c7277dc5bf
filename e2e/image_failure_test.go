// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// pushPrivate pushes an image to the private registry, and returns its digest.
func pushPrivate(t *testing.T, ref string) string {
	t.Helper()
	image := legacyImage(t, "hello", "")
	must.NoError(t, remote.Write(parsed(t, ref), image, remote.WithAuth(&authn.Basic{Username: user, Password: password})))
	digest, err := image.Digest()
	must.NoError(t, err)
	return digest.String()
}

// privateImage sets the variables of the example image-private, and stores its password.
func privateImage(t *testing.T) string {
	t.Helper()
	repository := privateHost + "/examples/hello"
	digest := pushPrivate(t, repository+":1")
	_, _, err := nomad.API.Variables().Create(&api.Variable{
		Path: "nomad/jobs/image-private", Items: map[string]string{"password": password},
	}, nil)
	must.NoError(t, err)
	return "image = \"" + repository + "@" + digest + "\"\nusername = \"" + user + "\"\n"
}

func TestImage_RefusalNamesTheCause(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	ref := privateHost + "/" + repository(t) + ":1"
	pushPrivate(t, ref)
	unusable := func(tag string, change func(*v1.ConfigFile)) string {
		ref := publicHost + "/" + repository(t) + ":" + tag
		must.NoError(t, remote.Write(parsed(t, ref), configured(t, legacyImage(t, "hello", ""), change)))
		return ref
	}
	container := unusable("container", func(file *v1.ConfigFile) { file.Config.Entrypoint = []string{"/bin/sh"} })
	arm := unusable("arm", func(file *v1.ConfigFile) { file.Architecture = "arm64" })
	without := unusable("without", func(file *v1.ConfigFile) { file.Config.Entrypoint = nil })
	auth := func(password string) map[string]any { return map[string]any{"username": user, "password": password} }
	cases := []struct {
		name   string
		image  string
		config map[string]any
		words  []string
		unlike string
	}{
		{"wrong password", ref, map[string]any{"auth": auth("wrong")}, []string{"not authorized", ref}, "not found"},
		{"no password", ref, nil, []string{"not authorized", "auth"}, "not found"},
		{"missing tag", strings.TrimSuffix(ref, ":1") + ":2", map[string]any{"auth": auth(password)}, []string{"not found", ":2"}, "not authorized"},
		{"never", pushGuest(t, "hello"), map[string]any{"image_pull_policy": "never"}, []string{"not cached", "pull policy"}, "not found"},
		{"no unikernel", container, nil, []string{"/bin/sh"}, "not authorized"},
		{"no entrypoint", without, nil, []string{"entrypoint"}, "not authorized"},
		{"architecture", arm, nil, []string{"arm64", "amd64"}, "not found"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			job := imageJob(t, tc.image)
			for key, value := range tc.config {
				set(job, key, value)
			}
			a := start(t, nomad, job)
			a.await(t, api.AllocClientStatusFailed)
			a.requireMessage(t, tc.words...)
			must.StrNotContains(t, a.messages(), tc.unlike)
		})
	}
}

// Nomad does not interrupt a start, so image_pull_timeout bounds the stop of a job.
func TestImage_StoppedJobEndsAStalledPull(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	ref := pushGuest(t, "hello")
	stalled, ended := stalledRegistry(t)
	job := restartable(imageJob(t, strings.Replace(ref, publicHost, stalledHost, 1)))
	set(job, "image_pull_timeout", "5s")
	a := start(t, nomad, job)
	testenv.Receive(t, stalled)
	_, _, err := nomad.API.Jobs().Deregister(a.JobID, false, nil)
	must.NoError(t, err)
	testenv.Receive(t, ended)
	a.await(t, api.AllocClientStatusComplete) // neither failed nor restarted
	a.requireMessage(t, "image_pull_timeout")
}

// stalledRegistry passes requests to the public registry, but never answers those for
// layers. The channels report when such a request begins, and when its client leaves.
func stalledRegistry(t *testing.T) (stalled, ended <-chan string) {
	t.Helper()
	begin, end := make(chan string, 100), make(chan string, 100)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: publicHost})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			proxy.ServeHTTP(w, r)
			return
		}
		begin <- r.URL.Path
		<-r.Context().Done()
		end <- r.URL.Path
	}))
	listener, err := net.Listen("tcp", stalledHost)
	must.NoError(t, err)
	must.NoError(t, server.Listener.Close())
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return begin, end
}
