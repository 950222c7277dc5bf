// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// failure is the error of a request.
type failure struct {
	kind       error  // one of package source
	reason     error  // for people
	short      string // the reason without a remedy, or ""
	transient  bool   // another attempt may succeed
	retryAfter time.Duration
	status     int // of the response, or 0
}

func (f *failure) Error() string   { return f.kind.Error() + ": " + f.reason.Error() }
func (f *failure) Unwrap() []error { return []error{f.kind, f.reason} }

func fail(kind error, format string, args ...any) *failure {
	return &failure{kind: kind, reason: fmt.Errorf(format, args...)}
}

// errStalled is the cause of a request that ended because the server sent nothing.
var errStalled = errors.New("the server sends no data")

// networkFailure describes an error without a response, or in the middle of one.
func (c *Client) networkFailure(ctx context.Context, u *url.URL, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("request to %s: %w", u.Host, context.Cause(ctx))
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		if string(record.RecordHeader[:]) == "HTTP/" {
			return fail(source.ErrUnavailable, "registry %s speaks plain HTTP, not HTTPS: if the network is trusted, %s", u.Host,
				c.configure(u, "plain_http = true", "--plain-http"))
		}
		return fail(source.ErrUnavailable, "registry %s does not speak TLS: check its address", u.Host)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fail(source.ErrUnavailable, "registry %s: %s: if its authority is private, %s", u.Host, clip(err.Error()),
			c.configure(u, "ca_file", "--ca-file"))
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return fail(source.ErrUnavailable, "the host name of %s does not exist: check the image reference, and the name server of this host", u.Host)
	}
	if u.Scheme == "http" && strings.Contains(err.Error(), "malformed HTTP response") {
		return fail(source.ErrUnavailable, "%s sends no HTTP response: %s", u.Host, c.tryHTTPS())
	}
	f := fail(source.ErrUnavailable, "%s: %s: check that the registry runs and that this host reaches it", u.Host, clip(err.Error()))
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		f = fail(source.ErrUnavailable, "%s closed the connection too early", u.Host)
	} else {
		f.short = fmt.Sprintf("%s does not answer (%s)", u.Host, innermost(err))
	}
	f.transient = true
	return f
}

// statusFailure describes a response with an unexpected status. It reads the body.
func (s *session) statusFailure(resp *http.Response, what string) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorSize))
	shown := *resp
	shown.Body = io.NopCloser(bytes.NewReader(body))
	err := s.explainStatus(transport.CheckError(&shown), what)
	if f, ok := errors.AsType[*failure](err); ok {
		f.retryAfter = retryAfter(resp.Header.Get("Retry-After"))
	}
	return err
}

// explainStatus describes an unexpected status that the library reports.
func (s *session) explainStatus(err error, what string) error {
	e, ok := errors.AsType[*transport.Error](err)
	if !ok || e.Request == nil {
		return err
	}
	f := s.describeStatus(e, what)
	f.status = e.StatusCode
	return f
}

func (s *session) describeStatus(e *transport.Error, what string) *failure {
	u, code := e.Request.URL, e.StatusCode
	text := fmt.Sprintf("%s answers %d %s", u.Host, code, http.StatusText(code))
	var reasons []string
	for _, d := range e.Errors {
		reasons = append(reasons, strings.TrimSpace(string(d.Code)+" "+d.Message))
	}
	if len(reasons) > 0 {
		text += fmt.Sprintf(" (%s)", clip(s.hideSecrets(strings.Join(reasons, ", "), e.Request.Header.Get("Authorization"))))
	}
	transient := func(format string, args ...any) *failure {
		f := fail(source.ErrUnavailable, format, args...)
		f.transient, f.short = isTransient(code), text
		return f
	}
	denied := code == http.StatusUnauthorized || code == http.StatusForbidden
	switch {
	case isLogin(e.Request) && !isTransient(code):
		return s.unauthorized("login to registry "+s.base.Host, "token server "+text)
	case !s.isRegistry(u):
		return transient("%s: %s, to which registry %s refers", what, text, s.base.Host)
	case denied:
		return s.unauthorized(what, text)
	case code == http.StatusNotFound && u.Path == "/v2/":
		return fail(source.ErrUnavailable, "%s: %s: it is not a registry: check its address", what, text)
	case code == http.StatusNotFound && strings.Contains(u.Path, "/blobs/"):
		return fail(source.ErrNotFound, "%s: %s: the registry has lost a part of the image: push the image again", what, text)
	case code == http.StatusNotFound:
		return fail(source.ErrNotFound, "%s: %s: check the name and the tag of the image", what, text)
	case code == http.StatusBadRequest && u.Scheme == "http" && len(reasons) == 0:
		return fail(source.ErrUnavailable, "%s: %s: %s", what, text, s.client.tryHTTPS())
	case isTransient(code):
		return transient("%s: %s: the registry has a problem, or too many requests: try again later", what, text)
	}
	return fail(source.ErrUnavailable, "%s: %s", what, text)
}

func isTransient(code int) bool {
	switch code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return code >= 500 && code != http.StatusNotImplemented && code != http.StatusHTTPVersionNotSupported
}

// retryAfter reads the header's seconds or date. It returns 0 if there is neither.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(date).Round(time.Second))
	}
	return 0
}
