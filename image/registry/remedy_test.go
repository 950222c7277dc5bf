// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"errors"
	"net/http"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// wantRemedy checks that errors of the plugin's client and of a command's name only their
// own remedy.
func wantRemedy(t *testing.T, plugin, command string, try func(commandLine bool) error) {
	t.Helper()
	for commandLine, texts := range map[bool][2]string{false: {plugin, command}, true: {command, plugin}} {
		err := try(commandLine)
		must.ErrorContains(t, err, texts[0])
		must.StrNotContains(t, err.Error(), texts[1])
	}
}

func TestErrors_NameTheRemedyOfTheProgram(t *testing.T) {
	secure, plain := serve(t, false), serve(t, true)
	resolve := func(s *server, h Host) func(bool) error {
		return func(commandLine bool) error {
			c := client(t, Options{CommandLine: commandLine, Hosts: map[string]Host{s.host: h}})
			_, err := open(t, c, parse(t, s.host+"/team/app:1.0"), nil).Resolve(t.Context())
			must.ErrorIs(t, err, source.ErrUnavailable)
			return err
		}
	}
	wantRemedy(t, "plain_http = true in the plugin's configuration", "use --plain-http", resolve(plain, Host{}))
	wantRemedy(t, "ca_file in the plugin's configuration", "use --ca-file", resolve(secure, Host{}))
	wantRemedy(t, "remove plain_http", "may speak HTTPS: try without --plain-http", resolve(secure, Host{PlainHTTP: true}))
	plain.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		conn, _, err := http.NewResponseController(w).Hijack()
		return err == nil && conn.Close() == nil
	})
	wantRemedy(t, "remove plain_http", "may speak HTTPS: try without --plain-http", resolve(plain, Host{PlainHTTP: true}))
}

func TestErrors_NameTheRemedyForALogin(t *testing.T) {
	s := serve(t, true)
	image, ref := testImage(t), parse(t, s.host+"/team/app:1.0")
	s.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	of := func(commandLine bool) *Client { return client(t, Options{CommandLine: commandLine}, s) }
	wantRemedy(t, "private or does not exist: for a private image, set auth in the task",
		"private or does not exist: log in with docker login", func(commandLine bool) error {
			_, err := open(t, of(commandLine), ref, nil).Resolve(t.Context())
			return err
		})
	wantRemedy(t, "the credentials from the job", "the credentials from --username: check", func(commandLine bool) error {
		_, err := open(t, of(commandLine), ref, testCredentials).Resolve(t.Context())
		return err
	})
	push := of(true).Push(t.Context(), ref, nil, image, nil)
	_, ping := of(true).Ping(t.Context(), s.host, nil)
	for _, err := range []error{push, ping} {
		must.ErrorContains(t, err, "without credentials: the registry requires a login: log in with docker login")
		must.StrNotContains(t, err.Error(), "the image")
	}
	refused := of(true).Push(t.Context(), ref, testCredentials, image, nil)
	must.ErrorContains(t, refused, "check user name and password, and that the user may push to team/app")
	_, ping = of(true).Ping(t.Context(), s.host, testCredentials)
	must.ErrorContains(t, ping, "--username: check user name and password")
	must.StrNotContains(t, errors.Join(refused, ping).Error(), "the image")
}
