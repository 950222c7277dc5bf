// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestNew_ReportsAllMistakes(t *testing.T) {
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	must.NoError(t, os.WriteFile(noPEM, []byte("no certificate"), 0o600))
	_, err := New(Options{
		CredentialHelper: "../x",
		Hosts: map[string]Host{
			"registry":       {},
			"https://h.io":   {},
			"h.io/path":      {},
			"h.io:99999":     {},
			"a.example":      {CAFile: "/does/not/exist"},
			"b.example:5000": {CAFile: noPEM},
		},
	})
	for _, want := range []string{
		`"../x"`, `registry "registry"`, `"https://h.io"`, `"h.io/path"`, `"h.io:99999"`,
		`"a.example": ca_file`, "/does/not/exist", `no certificate in PEM format`,
	} {
		must.ErrorContains(t, err, want)
	}
}

func TestBaseURL_UsesPlainHTTPOnlyIfConfigured(t *testing.T) {
	c := client(t, Options{Hosts: map[string]Host{
		"plain.example":      {PlainHTTP: true},
		"plain.example:5000": {PlainHTTP: true},
		"Upper.example:5001": {PlainHTTP: true},
		"tls.example":        {SkipVerify: true},
	}})
	for host, want := range map[string]string{
		"plain.example":      "http://plain.example",
		"plain.example:80":   "http://plain.example:80",
		"plain.example:443":  "https://plain.example:443",
		"plain.example:5000": "http://plain.example:5000",
		"plain.example:5001": "https://plain.example:5001",
		"upper.example:5001": "http://upper.example:5001",
		"tls.example":        "https://tls.example",
		"localhost:5000":     "https://localhost:5000",
		"127.0.0.1:5000":     "https://127.0.0.1:5000",
		"[::1]:5000":         "https://[::1]:5000",
		"10.0.0.1":           "https://10.0.0.1",
		"x.localhost":        "https://x.localhost",
		"docker.io":          "https://registry-1.docker.io",
	} {
		must.Eq(t, want, c.baseURL(host).String())
	}
}

func TestSource_RefusesPlainHTTPOfAnUnconfiguredRegistry(t *testing.T) {
	s := serve(t, true)
	_, ref := published(t, s)
	_, err := open(t, client(t, Options{}), ref, nil).Resolve(t.Context())
	must.ErrorIs(t, err, source.ErrUnavailable)
	must.ErrorContains(t, err, "plain_http = true")
	must.SliceEmpty(t, s.seen())
}

func TestSource_ChecksCertificates(t *testing.T) {
	s := serve(t, false)
	image, ref := published(t, s)
	_, err := open(t, client(t, Options{}), ref, nil).Resolve(t.Context())
	must.ErrorIs(t, err, source.ErrUnavailable)
	must.ErrorContains(t, err, "ca_file")
	must.SliceEmpty(t, s.seen())

	c := client(t, Options{Hosts: map[string]Host{s.host: {SkipVerify: true}}})
	pull(t, open(t, c, ref, nil), image)

	// The certificate is valid for example.com, but not for localhost.
	other := strings.Replace(s.host, "127.0.0.1", "localhost", 1)
	c = client(t, Options{Hosts: map[string]Host{other: s.config(t)}})
	_, err = open(t, c, parse(t, other+"/team/app:1.0"), nil).Resolve(t.Context())
	must.ErrorContains(t, err, "localhost")
	must.ErrorIs(t, err, source.ErrUnavailable)
}

func TestSource_UsesProxiesOfTheEnvironment(t *testing.T) {
	s := serve(t, true)
	image, _ := published(t, s)
	t.Setenv("HTTP_PROXY", "http://user:"+testSecret+"@"+s.host)
	t.Setenv("NO_PROXY", "")
	hosts := map[string]Host{"registry.test": {PlainHTTP: true}}
	pull(t, open(t, client(t, Options{Hosts: hosts}), parse(t, "registry.test/team/app:1.0"), nil), image)
	must.Eq(t, basicHeader("user", testSecret), s.headers("Proxy-Authorization")[0])

	s.Close()
	_, err := open(t, client(t, Options{Hosts: hosts}), parse(t, "registry.test/team/app:1.0"), nil).Resolve(t.Context())
	must.ErrorIs(t, err, source.ErrUnavailable)
	must.StrNotContains(t, err.Error(), testSecret)
}

// redirect lets a registry send the readers of blobs elsewhere.
func (s *server) redirect(status int, location string) {
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.Contains(r.URL.Path, "/blobs/"):
			w.Header().Set("Location", location)
			w.WriteHeader(status)
		default:
			return false
		}
		return true
	})
}

func TestRedirect_GoesToAnotherHostWithoutCredentials(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		s, storage := serve(t, false), serve(t, false)
		image, d, content := layer(t, s)
		storage.answer(func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write(content)
			return true
		})
		s.redirect(status, storage.URL+"/bucket/object?signature=abc")
		src := open(t, client(t, Options{}, s, storage), parse(t, s.host+"/team/app:1.0"), testCredentials)
		_, err := src.Resolve(t.Context())
		must.NoError(t, err)
		got, err := readBlob(t.Context(), src, d)
		must.NoError(t, err)
		must.Eq(t, len(layerContent(t, image, d.Digest)), len(got))
		must.Eq(t, []string{"GET /bucket/object"}, storage.seen())
		for _, header := range []string{"Authorization", "Cookie", "Referer"} {
			must.Eq(t, []string{""}, storage.headers(header))
		}
	}
}

func TestRedirect_IsRefused(t *testing.T) {
	plain := serve(t, true)
	for location, want := range map[string]string{
		plain.URL + "/x?signature=" + testSecret:                "plain HTTP",
		"http://169.254.169.254/latest/meta-data":               "plain HTTP",
		"file:///etc/passwd?" + testSecret:                      "no host",
		"gopher://example.com/":                                 "scheme",
		"https://anna:" + testSecret + "@example.com/":          "user name",
		"https://example.com:" + testSecret + "/?" + testSecret: "not a URL",
		"": "Location is missing",
	} {
		s := serve(t, false)
		_, d, _ := layer(t, s)
		s.redirect(http.StatusTemporaryRedirect, location)
		_, err := readBlob(t.Context(), open(t, client(t, Options{}, s), parse(t, s.host+"/team/app:1.0"), testCredentials), d)
		must.ErrorIs(t, err, source.ErrUnavailable)
		must.ErrorContains(t, err, want)
		must.StrNotContains(t, err.Error(), testSecret)
		must.SliceEmpty(t, plain.seen())
	}
}

func TestRedirect_EndsAfterTheLimit(t *testing.T) {
	s := serve(t, true)
	_, d, _ := layer(t, s)
	s.redirect(http.StatusFound, "?again")
	_, err := readBlob(t.Context(), open(t, client(t, Options{}, s), parse(t, s.host+"/team/app:1.0"), testCredentials), d)
	must.ErrorContains(t, err, "more than 5 times")
	must.Len(t, maxRedirects+2, s.seen()) // the first answer is 401
}

func TestCheckTarget_KeepsPublicRegistriesOutOfPrivateNetworks(t *testing.T) {
	c := client(t, Options{Hosts: map[string]Host{"10.0.0.9:9000": {}, "192.168.0.1": {PlainHTTP: true}}})
	for _, test := range []struct {
		registry, target string
		allowed          bool
	}{
		{"registry.example.com/x", "https://storage.example.net/x", true},
		{"registry.example.com/x", "https://registry.example.com/y", true},
		{"registry.example.com/x", "https://10.0.0.1/x", false},
		{"registry.example.com/x", "https://10.0.0.9:9000/x", true},
		{"registry.example.com/x", "https://10.0.0.9/x", false},
		{"registry.example.com/x", "http://192.168.0.1/x", true},
		{"registry.example.com/x", "https://192.168.0.1/x", false},
		{"registry.example.com/x", "https://127.0.0.1/x", false},
		{"registry.example.com/x", "https://localhost:4646/x", false},
		{"registry.example.com/x", "https://[::1]/x", false},
		{"registry.example.com/x", "https://[::ffff:169.254.169.254]/x", false},
		{"registry.example.com/x", "https://[fe80::1%25eth0]/x", false},
		{"registry.example.com/x", "https://0.0.0.0/x", false},
		{"10.0.0.1:5000/x", "https://10.0.0.2/x", true},
		{"localhost:5000/x", "https://127.0.0.1:5001/token", true},
	} {
		s, err := c.open(parse(t, test.registry), nil, "pull")
		must.NoError(t, err)
		target, err := url.Parse(test.target)
		must.NoError(t, err)
		must.Eq(t, test.allowed, s.checkTarget(target) == nil, must.Sprint(test))
		s.close()
	}
}

func TestSource_BoundsHeaders(t *testing.T) {
	s := serve(t, true)
	s.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		for range 1000 {
			w.Header().Add("X", strings.Repeat("x", 1000))
		}
		return true
	})
	_, err := open(t, client(t, Options{}, s), parse(t, s.host+"/x"), nil).Resolve(t.Context())
	must.ErrorIs(t, err, source.ErrUnavailable)
	must.Less(t, 1000, len(err.Error()))
}

// silentServer accepts connections and never sends anything. It reports the beginning and
// the end of each connection.
func silentServer(t *testing.T, connected func()) (host string, closed <-chan struct{}) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, listener.Close()) })
	ends := make(chan struct{}, 100)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				connected()
				_, _ = io.Copy(io.Discard, connection)
				ends <- struct{}{}
			}()
		}
	}()
	return listener.Addr().String(), ends
}

func TestSource_EndsWithTheContextDuringAHandshake(t *testing.T) {
	noGoroutinesLeft(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the task was stopped")
	host, closed := silentServer(t, func() { cancel(cause) })
	c := client(t, Options{})
	c.limits.dial = 10 * testenv.Patience
	src, err := c.Source(parse(t, host+"/x"), nil)
	must.NoError(t, err)
	_, err = src.Resolve(ctx)
	must.ErrorIs(t, err, cause)
	must.NoError(t, src.Close())
	testenv.Receive(t, closed)
	_, err = src.Resolve(t.Context())
	must.ErrorContains(t, err, "closed")
}

func TestSource_GivesUpASilentServer(t *testing.T) {
	noGoroutinesLeft(t)
	host, closed := silentServer(t, func() {})
	for _, plain := range []bool{true, false} {
		c := client(t, Options{Hosts: map[string]Host{host: {PlainHTTP: plain}}})
		c.limits.stall = 50 * time.Millisecond
		src, err := c.Source(parse(t, host+"/x"), nil)
		must.NoError(t, err)
		_, err = src.Resolve(t.Context())
		must.ErrorIs(t, err, source.ErrUnavailable)
		must.ErrorContains(t, err, "sends no data")
		must.NoError(t, src.Close())
		testenv.Receive(t, closed)
	}
}

// A raw server sends bytes that are not HTTP.
func TestSource_ReportsServersThatAreNoRegistry(t *testing.T) {
	noGoroutinesLeft(t)
	raw := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(connection, strings.Repeat("garbage\x1b[2J", 10_000))
			_ = connection.Close()
		}
	}))
	t.Cleanup(raw.Close)
	host := strings.TrimPrefix(raw.URL, "http://")
	_, err := open(t, client(t, Options{Hosts: map[string]Host{host: {PlainHTTP: true}}}), parse(t, host+"/x"), nil).Resolve(t.Context())
	must.ErrorIs(t, err, source.ErrUnavailable)
	must.Less(t, 1000, len(err.Error()))
	must.StrNotContains(t, err.Error(), "\x1b")
}

func TestClip_LeavesNoControlCharacters(t *testing.T) {
	must.Eq(t, "a b c d e", clip("a\x1bb\nc\u009bd\u202ee\x00"))
	must.Eq(t, "grün", clip("grün"))
	must.Eq(t, maxText, len(clip(strings.Repeat("x", 2*maxText))))
}
