// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

const (
	testToken  = "token-that-must-stay-secret"
	testSecret = "password-that-must-stay-secret"
)

var testCredentials = &Credentials{Username: "anna", Password: testSecret}

// demand lets a registry accept one Authorization header only.
func (s *server) demand(authorization, challenge string) {
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/v2/") || r.Header.Get("Authorization") == authorization {
			return false
		}
		w.Header().Add("WWW-Authenticate", `Negotiate`)
		w.Header().Add("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
}

// tokens answers requests of a token server.
func (s *server) tokens(answer http.HandlerFunc) {
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		answer(w, r)
		return true
	})
}

func bearerChallenge(realm string) string {
	return fmt.Sprintf(`Bearer realm="%s/token?x=y",service="the \"service\"",scope="repository:team/app:pull"`, realm)
}

func basicHeader(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestAuth_SendsPasswordsWhenTheRegistryAsks(t *testing.T) {
	s := serve(t, false)
	image, ref := published(t, s)
	s.demand(basicHeader("anna", testSecret), `Basic realm="x"`)
	pull(t, open(t, client(t, Options{}, s), ref, testCredentials), image)
	must.Eq(t, "", s.headers("Authorization")[0])
}

func TestAuth_ExchangesPasswordsForATokenAtAnotherHost(t *testing.T) {
	s, auth := serve(t, false), serve(t, false)
	image, ref := published(t, s)
	s.demand("Bearer "+testToken, bearerChallenge(auth.URL))
	auth.tokens(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if user, password, _ := r.BasicAuth(); user != "anna" || password != testSecret ||
			query.Get("service") != `the "service"` || query.Get("scope") != "repository:team/app:pull" || query.Get("x") != "y" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = fmt.Fprintf(w, `{"access_token": %q}`, testToken)
	})
	c := client(t, Options{}, s, auth)
	pull(t, open(t, c, ref, testCredentials), image)
	must.Eq(t, []string{"GET /token"}, auth.seen(), must.Sprint("one token serves all requests"))

	_, err := open(t, c, ref, &Credentials{Username: "anna", Password: "wrong"}).Resolve(t.Context())
	must.ErrorIs(t, err, source.ErrUnauthorized)
	_, err = open(t, c, ref, nil).Resolve(t.Context())
	must.ErrorIs(t, err, source.ErrUnauthorized)
	must.ErrorContains(t, err, "set auth")
}

func TestAuth_ExchangesIdentityTokens(t *testing.T) {
	s, auth := serve(t, false), serve(t, false)
	image, ref := published(t, s)
	s.demand("Bearer "+testToken, bearerChallenge(auth.URL))
	auth.tokens(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.PostFormValue("refresh_token") != testSecret || r.PostFormValue("grant_type") != "refresh_token" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = fmt.Fprintf(w, `{"token": %q}`, testToken)
	})
	config := dockerConfigFile(t, fmt.Sprintf(`{"auths": {%q: {"identitytoken": %q}}}`, s.host, testSecret))
	pull(t, open(t, client(t, Options{DockerConfig: config}, s, auth), ref, nil), image)
}

func TestAuth_GetsANewTokenWhenOneExpires(t *testing.T) {
	s := serve(t, true)
	image, ref := published(t, s)
	var mu sync.Mutex
	valid, uses := 0, 0
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/token" {
			valid, uses = valid+1, 0
			_, _ = fmt.Fprintf(w, `{"token": "token%d"}`, valid)
			return true
		}
		if uses++; uses < 3 && r.Header.Get("Authorization") == fmt.Sprintf("Bearer token%d", valid) {
			return false
		}
		w.Header().Set("WWW-Authenticate", bearerChallenge(s.URL))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	pull(t, open(t, client(t, Options{}, s), ref, nil), image)
	must.Greater(t, 1, valid)
}

func TestAuth_AsksForOneTokenForParallelRequests(t *testing.T) {
	s := serve(t, true)
	_, d, _ := layer(t, s)
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/token":
			_, _ = fmt.Fprintf(w, `{"token": %q}`, testToken)
		case r.Header.Get("Authorization") == "Bearer "+testToken:
			return false
		default:
			w.Header().Set("WWW-Authenticate", bearerChallenge(s.URL))
			w.WriteHeader(http.StatusUnauthorized)
		}
		return true
	})
	src := open(t, client(t, Options{}, s), parse(t, s.host+"/team/app:1.0"), nil)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			_, err := readBlob(t.Context(), src, d)
			must.NoError(t, err)
		})
	}
	group.Wait()
	must.Eq(t, 1, strings.Count(strings.Join(s.seen(), "\n"), "/token"))
}

func TestAuth_RefusesTokenServers(t *testing.T) {
	for realm, want := range map[string]string{
		"file:///etc/passwd":                     "not allowed",
		"file://host/etc/passwd":                 "not allowed",
		"ftp://host/x":                           "not allowed",
		"http://169.254.169.254/latest/x":        "not allowed",
		"http://registry.example.com/token":      "not allowed",
		"https://user:" + testSecret + "@host/x": "user name",
		"https://":                               "no host",
		"":                                       "missing realm",
		"/token":                                 "not allowed",
		"https://host:port/":                     "invalid realm",
		"https://%zz/":                           "invalid realm",
	} {
		t.Run(realm, func(t *testing.T) {
			s := serve(t, false)
			ref := parse(t, s.host+"/team/app")
			s.demand("x", `Bearer realm="`+realm+`"`)
			_, err := open(t, client(t, Options{}, s), ref, testCredentials).Resolve(t.Context())
			must.ErrorIs(t, err, source.ErrUnavailable)
			must.ErrorContains(t, err, want)
			must.StrNotContains(t, err.Error(), testSecret)
			must.Len(t, 1, s.seen(), must.Sprint("such an answer is not asked for again"))
		})
	}
}

func TestAuth_RefusesAnswersOfTokenServers(t *testing.T) {
	third := serve(t, false)
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		kind   error
		want   string
	}{
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			_, err := w.Write([]byte(`{"token": "`))
			for err == nil {
				_, err = w.Write([]byte(strings.Repeat(testToken, 1000)))
			}
		}, source.ErrUnavailable, "no valid token"},
		"no JSON":    {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, testToken) }, source.ErrUnavailable, "no valid token"},
		"no token":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{}`) }, source.ErrUnavailable, "no valid token"},
		"line break": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"token": "a\r\nX: y"}`) }, source.ErrUnavailable, "no valid token"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, third.URL, http.StatusTemporaryRedirect)
		}, source.ErrUnavailable, "redirects of logins"},
		"refusal that repeats the password": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprintf(w, `{"errors": [{"code": "DENIED", "message": "wrong password %s\n%s"}]}`, testSecret, strings.Repeat("long ", 1000))
		}, source.ErrUnauthorized, "DENIED wrong password"},
	} {
		t.Run(name, func(t *testing.T) {
			s, auth := serve(t, false), serve(t, false)
			s.demand("x", bearerChallenge(auth.URL))
			auth.tokens(test.answer)
			_, err := open(t, client(t, Options{}, s, auth, third), parse(t, s.host+"/team/app"), testCredentials).Resolve(t.Context())
			must.ErrorIs(t, err, test.kind)
			must.ErrorContains(t, err, test.want)
			must.StrNotContains(t, err.Error(), testSecret)
			must.StrNotContains(t, err.Error(), testToken)
			must.StrNotContains(t, err.Error(), "\n")
			must.Less(t, 2000, len(err.Error()))
			must.Len(t, 1, auth.seen())
			must.SliceEmpty(t, third.seen())
		})
	}
}

func TestAuth_LogsInIfOnlyTheRepositoryAsks(t *testing.T) {
	for _, challenge := range []string{"basic", "bearer"} {
		s := serve(t, true)
		image, ref := testImage(t), parse(t, s.host+"/team/app:1.0")
		answers := map[string]string{"basic": `Basic realm="x"`, "bearer": bearerChallenge(s.URL)}
		wanted := map[string]string{"basic": basicHeader("anna", testSecret), "bearer": "Bearer " + testToken}
		s.answer(func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.URL.Path == "/token":
				_, _ = fmt.Fprintf(w, `{"token": %q}`, testToken)
			case r.URL.Path == "/v2/", r.Header.Get("Authorization") == wanted[challenge]:
				return false
			default:
				w.Header().Set("WWW-Authenticate", answers[challenge])
				w.WriteHeader(http.StatusUnauthorized)
			}
			return true
		})
		c := client(t, Options{}, s)
		must.NoError(t, c.Push(t.Context(), ref, testCredentials, image, nil))
		pull(t, open(t, c, ref, testCredentials), image)
		wanted[challenge] = "other"
		_, err := open(t, c, ref, testCredentials).Resolve(t.Context())
		must.ErrorIs(t, err, source.ErrUnauthorized)
	}
}

func TestAuth_FindsTokenServersAtPrivateAddresses(t *testing.T) {
	for challenge, want := range map[string]string{
		`Bearer realm="https://10.0.0.6:5001/token",service="10.0.0.6"`: `Bearer realm="https://10.0.0.6.address.invalid:5001/token",service="10.0.0.6"`,
		`Bearer service="x", REALM=http://10.0.0.6`:                     `Bearer service="x", REALM=http://10.0.0.6.address.invalid`,
		`Bearer realm="https://registry.example.com/token"`:             `Bearer realm="https://registry.example.com/token"`,
		`Bearer realm="https://10.0.0.6.example.com/token"`:             `Bearer realm="https://10.0.0.6.example.com/token"`,
	} {
		s, err := client(t, Options{Hosts: map[string]Host{"10.0.0.6": {PlainHTTP: true}}}).open(parse(t, "10.0.0.5/x"), nil, "pull")
		must.NoError(t, err)
		t.Cleanup(s.close)
		resp := &http.Response{Header: http.Header{"Www-Authenticate": {challenge}}}
		must.NoError(t, s.challenged(resp))
		must.Eq(t, want, resp.Header.Get("WWW-Authenticate"))
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://10.0.0.6.address.invalid:5001/token?service=x", nil)
	must.NoError(t, err)
	for registry, allowed := range map[string]bool{"10.0.0.5/x": true, "registry.example.com/x": false} {
		s, err := client(t, Options{}).open(parse(t, registry), nil, "pull")
		must.NoError(t, err)
		t.Cleanup(s.close)
		target, err := s.target(req)
		must.Eq(t, allowed, err == nil)
		must.True(t, !allowed || target.Host == "10.0.0.6:5001")
	}
}

func TestAuth_RefusesUnknownSchemes(t *testing.T) {
	s := serve(t, true)
	s.demand("x", `Digest realm="x"`)
	_, err := open(t, client(t, Options{}, s), parse(t, s.host+"/team/app"), testCredentials).Resolve(t.Context())
	must.ErrorContains(t, err, "neither Basic nor Bearer")
}
