// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// RoundTrip sends the requests of the library, and enforces the limits of this package on
// them. It refuses targets that the configuration does not allow, and repeats requests that
// fail for a reason that can pass. Instead of a response with a status that the library does
// not handle, it returns an error.
func (s *session) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close() // each attempt gets its own body from GetBody
	}
	target, err := s.target(req)
	if err != nil {
		return nil, err
	}
	about := s.purposeOf(req)
	if about.challenge != nil && target.Path == "/v2/" {
		ping := &http.Request{Method: req.Method, URL: target}
		return &http.Response{StatusCode: http.StatusUnauthorized, Header: about.challenge, Body: http.NoBody, Request: ping}, nil
	}
	own := s.isRegistry(target) && !about.ping && !about.again && !isLogin(req)
	if t := s.lateLogin(); own && t != nil {
		return sendAgain(t, req, about)
	}
	var resp *http.Response
	attempt := func() (err error) {
		resp, err = s.attempt(req, target) //nolint:bodyclose // RoundTrip returns the response
		return err
	}
	if req.Method == http.MethodGet || req.Method == http.MethodHead || isLogin(req) {
		err = s.client.retry(req.Context(), s.attempts, attempt)
	} else {
		err = attempt() // Push repeats an upload as a whole
	}
	if own && err == nil && resp.StatusCode == http.StatusUnauthorized && req.Header.Get("Authorization") == "" {
		drain(resp)
		return s.loginLate(req, resp.Header)
	}
	return resp, err
}

// loginLate sends a request again, with the login that a registry wants although it did not
// ask for one at /v2/. The library logs in only as /v2/ asks, so it gets the late challenge
// as the answer there.
func (s *session) loginLate(req *http.Request, challenge http.Header) (*http.Response, error) {
	about := s.purposeOf(req)
	t, err := s.logIn(purpose{what: about.what, ping: true, challenge: challenge}.in(req.Context()))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.late = t
	s.mu.Unlock()
	return sendAgain(t, req, about)
}

func (s *session) lateLogin() http.RoundTripper {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.late
}

// sendAgain sends a request through the transport of a late login.
func sendAgain(t http.RoundTripper, req *http.Request, about purpose) (*http.Response, error) {
	about.again = true
	again := req.Clone(about.in(req.Context()))
	again.Header.Del("Authorization")
	return t.RoundTrip(again)
}

// isLogin reports whether the library sends a request to a token server.
func isLogin(req *http.Request) bool {
	return req.Response == nil && (req.Method == http.MethodGet && req.URL.Query().Has("service") ||
		req.Method == http.MethodPost && req.Header.Get("Content-Type") == "application/x-www-form-urlencoded")
}

// target returns the URL to which a request of the library may go.
func (s *session) target(req *http.Request) (*url.URL, error) {
	u := *req.URL
	u.Fragment = ""
	if s.purposeOf(req).ping && u.Path == "/v2/" && u.Host == s.base.Host && req.Response == nil {
		// The library tries HTTPS first, and HTTP afterwards at private addresses. Here the
		// configuration decides.
		if u.Scheme == "http" {
			return nil, fail(source.ErrUnavailable, "registry %s: the configuration decides between HTTPS and plain HTTP", s.base.Host)
		}
		u.Scheme = s.base.Scheme
	}
	u.Host = strings.Replace(u.Host, hiddenAddress, "", 1)
	if s.isRegistry(&u) {
		return &u, nil
	}
	if err := s.checkTarget(&u); err != nil {
		return nil, fail(source.ErrUnavailable, "registry %s names a server, but its address %s is refused: %w", s.base.Host, display(&u), err)
	}
	return &u, nil
}

// attempt makes one attempt of a request.
func (s *session) attempt(req *http.Request, target *url.URL) (*http.Response, error) {
	about := s.purposeOf(req)
	resp, err := s.send(req, target)
	if err != nil {
		failed := s.client.networkFailure(req.Context(), target, err)
		if f, ok := errors.AsType[*failure](failed); ok && target.Scheme == "http" && isReset(err) {
			f.reason = fmt.Errorf("%w: %s", f.reason, s.client.tryHTTPS())
		}
		return nil, failed
	}
	if err := s.check(req, resp, about); err != nil {
		drain(resp)
		return nil, err
	}
	switch {
	case resp.StatusCode >= 400:
		resp.Body = &limitedBody{resp.Body, maxErrorSize, io.EOF}
	case !about.stream:
		exceeded := fail(source.ErrInvalid, "%s has more than the %d bytes that are allowed for manifests and configs", about.what, source.MaxManifestSize)
		resp.Body = &limitedBody{resp.Body, source.MaxManifestSize, exceeded}
	}
	return resp, nil
}

// isReset reports whether a server has closed the connection without a response. Some servers
// with HTTPS answer plain HTTP in this way.
func isReset(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// send makes a single HTTP request.
func (s *session) send(req *http.Request, target *url.URL) (*http.Response, error) {
	pool, err := s.transports.get(target)
	if err != nil {
		return nil, err
	}
	watched, g := watch(req.Context(), s.stallLimit(req.Method))
	out := req.Clone(watched)
	out.URL, out.Host, out.Body = target, "", nil
	if err := s.prepare(out, isLogin(req)); err != nil {
		g.end()
		return nil, err
	}
	if out.Body != nil {
		out.Body = &guardedBody{ReadCloser: out.Body, guard: g, sends: true}
	}
	g.arm()
	resp, err := pool.RoundTrip(out)
	g.disarm()
	if err != nil {
		err = g.cause(err)
		g.end()
		return nil, err
	}
	explain := func(err error) error { return s.client.networkFailure(req.Context(), target, err) }
	resp.Body = &guardedBody{ReadCloser: resp.Body, guard: g, explain: explain}
	return resp, nil
}

// prepare completes the header and the body of a request.
func (s *session) prepare(req *http.Request, login bool) error {
	req.Header.Set("User-Agent", s.client.userAgent)
	req.Header.Del("Referer")
	if !login && !s.isRegistry(req.URL) {
		req.Header.Del("Authorization")
	}
	if strings.ContainsFunc(req.Header.Get("Authorization"), func(r rune) bool { return r < ' ' || r >= 0x7f }) {
		return s.noToken()
	}
	if req.GetBody == nil || req.ContentLength == 0 {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return &failure{kind: source.ErrInvalid, reason: err}
	}
	req.Body = body
	return nil
}

// stallLimit is longer for requests after which a registry works.
func (s *session) stallLimit(method string) time.Duration {
	if method == http.MethodPut || method == http.MethodPatch {
		return s.client.limits.commit
	}
	return s.client.limits.stall
}

// check returns an error unless the library or the caller handles the response.
func (s *session) check(req *http.Request, resp *http.Response, about purpose) error {
	switch code := resp.StatusCode; {
	case code < 300 && (req.Method == http.MethodPost || req.Method == http.MethodPatch) && !isLogin(req):
		if err := s.checkLocation(resp); err != nil {
			return fail(source.ErrUnavailable, "%s: registry %s names a place for the upload, but %w", about.what, s.base.Host, err)
		}
		return nil
	case code < 300:
		return nil
	case isRedirect(req.Method, code):
		return s.checkRedirect(req, resp, about)
	case code == http.StatusUnauthorized && s.isRegistry(resp.Request.URL) && !isLogin(req):
		return s.challenged(resp)
	case code == http.StatusNotFound && !about.ping && (s.isRegistry(resp.Request.URL) || isLogin(req)):
		return nil // means that a blob has to be uploaded, or the login has to use GET
	case code == http.StatusRequestedRangeNotSatisfiable && about.stream:
		return nil
	}
	return s.statusFailure(resp, about.what)
}

func isRedirect(method string, status int) bool {
	switch status {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		return method == http.MethodGet || method == http.MethodHead
	}
	return false
}

// checkRedirect decides whether the library may follow a redirect.
func (s *session) checkRedirect(req *http.Request, resp *http.Response, about purpose) error {
	if isLogin(req) {
		return fail(source.ErrUnavailable, "token server %s answers %s: redirects of logins are refused, because the credentials would go to another server", resp.Request.URL.Host, clip(resp.Status))
	}
	redirects := 0
	for before := req.Response; before != nil && before.Request != nil; before = before.Request.Response {
		redirects++
	}
	if redirects >= maxRedirects {
		return fail(source.ErrUnavailable, "%s: registry %s redirects the request more than %d times", about.what, s.base.Host, maxRedirects)
	}
	if err := s.checkLocation(resp); err != nil {
		return fail(source.ErrUnavailable, "%s: registry %s redirects the request, but %w", about.what, s.base.Host, err)
	}
	return nil
}

// checkLocation decides whether the next request may go to the place that a response names.
// Errors do not contain its query, which can be a signature that gives access.
func (s *session) checkLocation(resp *http.Response) error {
	location, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || *location == (url.URL{}) {
		return errors.New("its header Location is missing or not a URL")
	}
	target := resp.Request.URL.ResolveReference(location)
	if s.isRegistry(target) {
		return nil
	}
	if err := s.checkTarget(target); err != nil {
		return fmt.Errorf("its target %s is refused: %w", display(target), err)
	}
	return nil
}

// hiddenAddress is inserted before the port of a token server.
const hiddenAddress = ".address.invalid"

// tokenServer is the beginning of an URL with an IPv4 address in a challenge.
var tokenServer = regexp.MustCompile(`(?i)(realm\s*=\s*"?https?://[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+)([:/"?,]|$)`)

// challenged notes that the registry asks for credentials. The library refuses all token
// servers at private addresses, but checkTarget allows some. This function makes their
// addresses look like names, and target restores them.
func (s *session) challenged(resp *http.Response) error {
	known := false
	challenges := resp.Header.Values("WWW-Authenticate")
	for i, text := range challenges {
		scheme, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(text)), " ")
		known = known || scheme == "basic" || scheme == "bearer"
		challenges[i] = tokenServer.ReplaceAllString(text, "${1}"+hiddenAddress+"${2}")
	}
	if !known {
		return fail(source.ErrUnavailable, "registry %s requires credentials, but offers neither Basic nor Bearer authentication", s.base.Host)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = true
	return nil
}

// isRegistry reports whether a URL belongs to the registry itself. Only such a URL receives
// its authorization.
func (s *session) isRegistry(u *url.URL) bool {
	return u.User == nil && u.Scheme == s.base.Scheme && hostKey(u) == hostKey(s.base)
}

// limitedBody ends with an error after a number of bytes.
type limitedBody struct {
	io.ReadCloser
	left     int64
	exceeded error
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return max(0, n+int(b.left)), b.exceeded
	}
	return n, err
}

// explain returns the error of a request of the library in the words of this package. It
// leaves other errors as they are.
func (s *session) explain(ctx context.Context, err error, what string) error {
	wrapped, sent := errors.AsType[*url.Error](err)
	if sent = sent && wrapped.Op != "parse"; sent {
		err = wrapped.Err // the text of the wrapper contains the query
	}
	if _, ok := errors.AsType[*failure](err); ok {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("request to %s: %w", s.base.Host, context.Cause(ctx))
	}
	if err = s.explainStatus(err, what); sent {
		return s.loginFailure(ctx, err)
	}
	return err
}

// loginFailure hides the library's own errors about challenges and tokens, which can quote
// tokens.
func (s *session) loginFailure(ctx context.Context, err error) error {
	if isExplained(ctx, err) {
		return err
	}
	if text := err.Error(); strings.Contains(text, "www-authenticate") {
		text = strings.ReplaceAll(s.hideSecrets(text, ""), hiddenAddress, "")
		return fail(source.ErrUnavailable, "registry %s names no usable token server: %s", s.base.Host, clip(text))
	}
	return s.noToken()
}

func (s *session) noToken() *failure {
	return fail(source.ErrUnavailable, "login to registry %s: the answer of its token server contains no valid token", s.base.Host)
}

// isExplained reports whether an error is in the words of this package.
func isExplained(ctx context.Context, err error) bool {
	_, ok := errors.AsType[*failure](err)
	return ok || ctx.Err() != nil
}
