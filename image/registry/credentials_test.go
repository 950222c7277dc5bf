// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func dockerConfigFile(t *testing.T, content string) string {
	path := filepath.Join(t.TempDir(), "config.json")
	must.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// helperProgram puts docker-credential-NAME on the PATH.
func helperProgram(t *testing.T, name, script string) {
	dir := t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// loginFor returns the login that a client uses for a reference.
func loginFor(t *testing.T, o Options, ref string, credentials *Credentials) (login, error) {
	s, err := client(t, o).open(parse(t, ref), credentials, "pull")
	must.NoError(t, err)
	defer s.close()
	s.asked = true
	_, err = s.AuthorizationContext(t.Context())
	return s.usedLogin(), err
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestLogin_PrefersTheJobsCredentials(t *testing.T) {
	helperProgram(t, "plugin", `test "$(cat)" = h.io && echo '{"Username": "from-helper", "Secret": "3"}'`)
	config := dockerConfigFile(t, fmt.Sprintf(`{"auths": {"h.io": {"auth": %q}}}`, encode("from-config:2")))
	empty := dockerConfigFile(t, `{"auths": {"h.io": {}}}`)
	for _, test := range []struct {
		options     Options
		credentials *Credentials
		want        string
	}{
		{Options{DockerConfig: config, CredentialHelper: "plugin"}, &Credentials{"from-job", "1"}, "from-job:1 the job"},
		{Options{DockerConfig: config, CredentialHelper: "plugin"}, nil, "from-config:2 " + config},
		{Options{DockerConfig: config, CredentialHelper: "plugin"}, &Credentials{}, "from-config:2 " + config},
		{Options{DockerConfig: empty, CredentialHelper: "plugin"}, nil, "from-helper:3 docker-credential-plugin"},
		{Options{CredentialHelper: "plugin"}, nil, "from-helper:3 docker-credential-plugin"},
		{Options{DockerConfig: empty}, nil, ": "},
		{Options{}, nil, ": "},
	} {
		l, err := loginFor(t, test.options, "h.io/team/app", test.credentials)
		must.NoError(t, err)
		must.Eq(t, test.want, l.Username+":"+l.Password+" "+l.origin)
	}
}

func TestLogin_FindsTheRegistryInDockersConfiguration(t *testing.T) {
	a, b := encode("a:1"), strings.TrimRight(encode("b:x:y"), "=")
	helperProgram(t, "one", `test "$(cat)" = helper.io:5000 && echo '{"Username": "<token>", "Secret": "identity"}'`)
	helperProgram(t, "all", `case "$(cat)" in https://index.docker.io/v1/) echo '{"Username": "hub", "Secret": "2"}';; *) echo credentials not found in native keychain; exit 1;; esac`)
	for _, test := range []struct{ config, ref, want string }{
		{`{"auths": {"h.io": {"auth": "` + a + `"}}}`, "h.io/x", "a:1"},
		{`{"auths": {"h.io": {"auth": "` + a + `"}}}`, "h.io:5000/x", ":"},
		{`{"auths": {"H.io:5000": {"auth": "` + b + `"}}}`, "h.io:5000/x", "b:x:y"},
		{`{"auths": {"https://h.io/v2/": {"username": "c", "password": "d"}}}`, "h.io/x", "c:d"},
		{`{"auths": {"https://h.io": {"auth": "` + b + `"}, "h.io": {"auth": "` + a + `"}}}`, "h.io/x", "a:1"},
		{`{"auths": {"h.io/team": {"auth": "` + a + `"}, "h.io": {"auth": "` + b + `"}}}`, "h.io/team/app", "a:1"},
		{`{"auths": {"h.io/team": {"auth": "` + a + `"}, "h.io": {"auth": "` + b + `"}}}`, "h.io/teams/app", "b:x:y"},
		{`{"auths": {"https://index.docker.io/v1/": {"auth": "` + a + `"}}}`, "nginx", "a:1"},
		{`{"auths": {"h.io": {"auth": "` + a + `"}, "broken.io": {"auth": "?"}}}`, "h.io/x", "a:1"},
		{`{"auths": {"docker.io": {"auth": "` + a + `"}}}`, "docker.io/team/app", "a:1"},
		{`{"credHelpers": {"helper.io:5000": "one"}, "credsStore": "all"}`, "helper.io:5000/x", ":identity"},
		{`{"credHelpers": {"helper.io:5000": "one"}, "credsStore": "all"}`, "nginx", "hub:2"},
		{`{"credHelpers": {"helper.io:5000": "one"}, "credsStore": "all"}`, "other.io/x", ":"},
	} {
		l, err := loginFor(t, Options{DockerConfig: dockerConfigFile(t, test.config)}, test.ref, nil)
		must.NoError(t, err)
		must.Eq(t, test.want, l.Username+":"+l.Password+l.IdentityToken, must.Sprint(test))
	}
}

func TestLogin_RefusesInvalidConfigurations(t *testing.T) {
	for content, want := range map[string]string{
		`{"auths": {"h.io": {"auth": "` + testSecret + `"}}}`:           "Base64",
		`{"auths": {"h.io": {"auth": "` + encode(testSecret) + `"}}}`:   "USER:PASSWORD",
		`{"auths": {"h.io": {"password": "` + testSecret + `}}}`:        "not valid JSON",
		`{"auths": {"h.io": {"x": "` + strings.Repeat("x", 1<<20) + `"`: "more than",
		`{"credsStore": "../../evil"}`:                                  "slash",
		`{"credsStore": "does-not-exist"}`:                              "docker-credential-does-not-exist",
	} {
		_, err := loginFor(t, Options{DockerConfig: dockerConfigFile(t, content)}, "h.io/x", nil)
		must.ErrorIs(t, err, source.ErrUnauthorized)
		must.ErrorContains(t, err, want)
		must.StrNotContains(t, err.Error(), testSecret)
	}
	_, err := loginFor(t, Options{DockerConfig: "/does/not/exist"}, "h.io/x", nil)
	must.ErrorContains(t, err, "/does/not/exist")
}

func TestHelper_ErrorsNameTheHelper(t *testing.T) {
	for script, want := range map[string]string{
		`echo the vault is locked; exit 1`:                                 "exit status 1: the vault is locked",
		`echo '{"Secret": "` + testSecret + `"}'; echo locked >&2; exit 2`: "exit status 2: locked",
		`echo ` + testSecret:                                               "did not print JSON",
		`yes ` + testSecret + ` | head -c 10000000`:                        "prints more than",
		`kill -9 $$`: "signal: killed",
	} {
		helperProgram(t, "broken", script)
		_, err := loginFor(t, Options{CredentialHelper: "broken"}, "h.io/x", nil)
		must.ErrorIs(t, err, source.ErrUnauthorized)
		must.ErrorContains(t, err, "docker-credential-broken")
		must.ErrorContains(t, err, want)
		must.StrNotContains(t, err.Error(), testSecret)
	}
}

// slowHelper is a helper whose child holds its output. It returns the file with their PIDs.
func slowHelper(t *testing.T) string {
	pids := filepath.Join(t.TempDir(), "pids")
	helperProgram(t, "slow", fmt.Sprintf("sleep 1000 & echo $$ $! >%[1]s.new; mv %[1]s.new %[1]s; wait", pids))
	return pids
}

func allEnded(t *testing.T, pids string) {
	content, err := os.ReadFile(pids)
	must.NoError(t, err)
	var helper, child int
	_, err = fmt.Sscan(string(content), &helper, &child)
	must.NoError(t, err)
	for _, pid := range []int{helper, child} {
		must.Wait(t, testenv.Eventually(func() error {
			if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(stat), ") Z ") {
				return fmt.Errorf("process %d runs", pid)
			}
			return nil
		}))
	}
}

func TestHelper_EndsAtTheTimeout(t *testing.T) {
	pids := slowHelper(t)
	c := client(t, Options{CredentialHelper: "slow"})
	c.limits.helper = time.Second
	s, err := c.open(parse(t, "h.io/x"), nil, "pull")
	must.NoError(t, err)
	defer s.close()
	s.asked = true
	_, err = s.AuthorizationContext(t.Context())
	must.ErrorContains(t, err, "docker-credential-slow: no answer within 1s")
	allEnded(t, pids)
}

func TestHelper_EndsWithTheContext(t *testing.T) {
	pids := slowHelper(t)
	s, err := client(t, Options{CredentialHelper: "slow"}).open(parse(t, "h.io/x"), nil, "pull")
	must.NoError(t, err)
	defer s.close()
	s.asked = true
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the task was stopped")
	result := make(chan error, 1)
	go func() {
		_, err := s.AuthorizationContext(ctx)
		result <- err
	}()
	must.Wait(t, testenv.Eventually(func() error { return unix.Access(pids, unix.R_OK) }))
	cancel(cause)
	must.ErrorIs(t, testenv.Receive(t, result), cause)
	allEnded(t, pids)
}

func TestHelper_RunsOnlyIfTheRegistryAsks(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "ran")
	helperProgram(t, "marking", fmt.Sprintf(`touch %s; echo '{"Username": "anna", "Secret": %q}'`, marker, testSecret))
	s := serve(t, true)
	image, ref := published(t, s)
	c := client(t, Options{CredentialHelper: "marking"}, s)
	pull(t, open(t, c, ref, nil), image)
	must.FileNotExists(t, marker)
	s.demand(basicHeader("anna", testSecret), `Basic realm="x"`)
	pull(t, open(t, c, ref, nil), image)
	must.FileExists(t, marker)
}

func TestCredentials_AreNotPrinted(t *testing.T) {
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		must.StrNotContains(t, fmt.Sprintf(format, testCredentials), testSecret)
		must.StrNotContains(t, fmt.Sprintf(format, *testCredentials), testSecret)
	}
}

func TestAuth_ErrorsNameTheOriginOfTheCredentials(t *testing.T) {
	s := serve(t, true)
	s.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	helperProgram(t, "wrong", `echo '{"Username": "anna", "Secret": "`+testSecret+`"}'`)
	_, err := open(t, client(t, Options{CredentialHelper: "wrong"}, s), parse(t, s.host+"/x"), nil).Resolve(t.Context())
	must.ErrorIs(t, err, source.ErrUnauthorized)
	must.ErrorContains(t, err, "docker-credential-wrong")
	must.StrNotContains(t, err.Error(), testSecret)
}
