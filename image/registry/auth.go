// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// login is how a registry's users identify themselves.
type login struct {
	username, password string
	identityToken      string // exchanged for a token at the token server
	registryToken      string // sent to the registry as it is
	origin             string // for errors; "" without credentials
}

func (s *session) authorization() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.header
}

func (s *session) usedLogin() login {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.login == nil {
		return login{}
	}
	return *s.login
}

// authorize returns the Authorization header that answers a registry's challenge. used is
// the header that the registry has refused.
func (s *session) authorize(ctx context.Context, resp *http.Response, used, what string) (string, error) {
	select {
	case s.authorizing <- struct{}{}:
		defer func() { <-s.authorizing }()
	case <-ctx.Done():
		return "", fmt.Errorf("login to registry %s: %w", s.base.Host, context.Cause(ctx))
	}
	if current := s.authorization(); current != used {
		return current, nil // another request has got it
	}
	l, err := s.findLogin(ctx)
	if err != nil {
		return "", err
	}
	header, err := s.answer(ctx, parseChallenges(resp.Header.Values("WWW-Authenticate")), l)
	if err != nil {
		return "", err
	}
	if header == "" || header == used {
		return "", s.statusFailure(resp, what)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.header = header
	return header, nil
}

// answer prefers tokens to passwords, as docker does.
func (s *session) answer(ctx context.Context, challenges []challenge, l login) (string, error) {
	if l.registryToken != "" {
		return "Bearer " + l.registryToken, nil
	}
	for _, c := range challenges {
		if c.scheme == "bearer" {
			token, err := s.token(ctx, c, l)
			if err != nil {
				return "", err
			}
			return "Bearer " + token, nil
		}
	}
	for _, c := range challenges {
		if c.scheme == "basic" {
			return basic(l), nil
		}
	}
	return "", fail(source.ErrUnavailable, "registry %s requires credentials, but offers neither Basic nor Bearer authentication", s.base.Host)
}

func basic(l login) string {
	if l.username == "" || l.password == "" {
		return ""
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(l.username+":"+l.password))
}

// token gets a token from the token server that the registry names.
//
// Credentials go to that server, which can be another host: Docker Hub has one. A hostile
// registry gains nothing by that, because it could ask for the same credentials itself.
// They travel over HTTPS, or to a host for which the operator allows plain HTTP.
func (s *session) token(ctx context.Context, c challenge, l login) (string, error) {
	realm, err := url.Parse(c.parameters["realm"])
	if err == nil {
		err = s.checkTarget(realm)
	} else {
		err = errors.New("it is not a URL")
	}
	if err != nil {
		return "", fail(source.ErrUnavailable, "registry %s names a token server, but %w", s.base.Host, err)
	}
	resp, err := s.requestToken(ctx, realm, c, l)
	if err != nil {
		return "", err
	}
	defer drain(resp)
	what := "token server " + realm.Host
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
	case isTransient(code):
		return "", s.statusFailure(resp, what)
	case code < 400:
		return "", fail(source.ErrUnavailable, "%s answers %s: redirects of logins are refused, because the credentials would go to another server", what, clip(resp.Status))
	default:
		text := strings.TrimSpace(fmt.Sprintf("%s answers %s %s", what, clip(resp.Status), s.errorMessage(resp)))
		return "", s.unauthorized("login to registry "+s.base.Host, text)
	}
	token, err := readToken(resp.Body)
	if err != nil {
		if f := networkFailure(ctx, realm, err); errors.Is(err, errStalled) || ctx.Err() != nil {
			return "", f
		}
		return "", fail(source.ErrUnavailable, "%s: %w", what, err)
	}
	return token, nil
}

// requestToken asks as docker's specification of tokens describes it. It follows no
// redirect: that would send the credentials to a third host.
func (s *session) requestToken(ctx context.Context, realm *url.URL, c challenge, l login) (*http.Response, error) {
	values := url.Values{"scope": s.scopes(c)}
	if service := c.parameters["service"]; service != "" {
		values.Set("service", service)
	}
	r := request{method: http.MethodGet, header: http.Header{}}
	target := *realm
	if l.identityToken != "" {
		values.Set("scope", strings.Join(values["scope"], " "))
		values.Set("grant_type", "refresh_token")
		values.Set("client_id", s.client.userAgent)
		values.Set("refresh_token", l.identityToken)
		form := values.Encode()
		r.method, r.size = http.MethodPost, int64(len(form))
		r.header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.body = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(form)), nil }
	} else {
		if header := basic(l); header != "" {
			r.header.Set("Authorization", header)
			values.Set("account", l.username)
		}
		query := target.Query()
		for name, value := range values {
			query[name] = value
		}
		target.RawQuery = query.Encode()
	}
	resp, err := s.send(ctx, r, &target, "")
	if err != nil {
		return nil, networkFailure(ctx, &target, err)
	}
	return resp, nil
}

// scopes returns the access that the token must give: the registry's own wish first,
// because some token servers regard only the first.
func (s *session) scopes(c challenge) []string {
	if s.repo == "" {
		return nil // Ping asks for access to no repository
	}
	own := "repository:" + s.repo + ":" + s.actions
	if wish := c.parameters["scope"]; wish != "" && wish != own {
		return []string{wish, own}
	}
	return []string{own}
}

func readToken(r io.Reader) (string, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxTokenSize+1))
	if err != nil {
		return "", err
	}
	if len(body) > maxTokenSize {
		return "", fmt.Errorf("its answer has more than %d bytes", maxTokenSize)
	}
	var content struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	// The error of the parser can quote the token.
	if json.Unmarshal(body, &content) != nil {
		return "", errors.New("its answer is not the JSON of a token")
	}
	token := content.Token
	if token == "" {
		token = content.AccessToken
	}
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", errors.New("its answer contains no valid token")
	}
	return token, nil
}

// hideSecrets removes credentials and tokens from the text of a server, which may repeat
// them.
func (s *session) hideSecrets(text string) string {
	l := s.usedLogin()
	_, header, _ := strings.Cut(s.authorization(), " ")
	for _, secret := range []string{l.password, l.identityToken, l.registryToken, header} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	return text
}
