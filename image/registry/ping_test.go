// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

func TestPing_ReportsTheLogin(t *testing.T) {
	s := serve(t, true)
	c, err := New(Options{Hosts: map[string]Host{s.host: {PlainHTTP: true}}})
	must.NoError(t, err)
	origin, err := c.Ping(context.Background(), s.host, nil)
	must.NoError(t, err)
	must.Eq(t, "", origin)

	s.change = func(w http.ResponseWriter, r *http.Request) bool {
		if _, password, _ := r.BasicAuth(); password == "secret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", "Basic")
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	_, err = c.Ping(context.Background(), s.host, nil)
	must.ErrorIs(t, err, source.ErrUnauthorized)
	origin, err = c.Ping(context.Background(), s.host, &Credentials{Username: "user", Password: "secret"})
	must.NoError(t, err)
	must.Eq(t, "the job", origin)
}

func TestPing_AsksForATokenWithoutScope(t *testing.T) {
	s := serve(t, true)
	c, err := New(Options{Hosts: map[string]Host{s.host: {PlainHTTP: true}}})
	must.NoError(t, err)
	s.change = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/token" && !r.URL.Query().Has("scope"):
			_, _ = io.WriteString(w, `{"token":"abc"}`)
			return true
		case r.Header.Get("Authorization") == "Bearer abc":
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+s.host+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	origin, err := c.Ping(context.Background(), s.host, nil)
	must.NoError(t, err)
	must.Eq(t, "anonymous", origin)
}

func TestPing_RefusesOtherNames(t *testing.T) {
	c, err := New(Options{})
	must.NoError(t, err)
	for _, host := range []string{"", "registry", "example.com/repo", "http://example.com", "user@example.com"} {
		_, err := c.Ping(context.Background(), host, nil)
		must.ErrorContains(t, err, "is not the host", must.Sprint(host))
	}
}

func TestPing_SaysThatAServerIsNotARegistry(t *testing.T) {
	s := serve(t, true)
	s.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusNotFound)
		return true
	})
	_, err := client(t, Options{}, s).Ping(t.Context(), s.host, nil)
	must.ErrorIs(t, err, source.ErrUnavailable)
	must.ErrorContains(t, err, "it is not a registry")
	must.Len(t, 1, s.seen())
}
