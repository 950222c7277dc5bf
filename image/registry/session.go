// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// session is the state of one image: its connections and its login.
type session struct {
	client      *Client
	base        *url.URL // of the registry
	repo        string
	actions     string // of the token: "pull", or "pull,push"
	credentials *Credentials
	transports  *transports

	// authorizing holds one element while a request asks for authorization, so that
	// parallel requests ask once.
	authorizing chan struct{}
	mu          sync.Mutex
	header      string // Authorization, "" until the registry asks for one
	login       *login // nil until then
}

func (c *Client) open(ref reference.Reference, credentials *Credentials, actions string) (*session, error) {
	if ref.Transport() != reference.Registry {
		return nil, fmt.Errorf("image reference %q does not name a registry", ref)
	}
	return &session{
		client:      c,
		base:        c.baseURL(ref.Host()),
		repo:        ref.Repository(),
		actions:     actions,
		credentials: credentials,
		transports:  newTransports(c),
		authorizing: make(chan struct{}, 1),
	}, nil
}

func (s *session) close() { s.transports.close() }

// url returns the address of an object in the repository.
func (s *session) url(elements ...string) *url.URL {
	u := *s.base
	u.Path = "/v2/" + s.repo + "/" + strings.Join(elements, "/")
	return &u
}

// request is one request to the registry.
type request struct {
	method string
	url    *url.URL
	header http.Header
	what   string // the object, for errors
	accept []int  // successful statuses
	body   func() (io.ReadCloser, error)
	size   int64 // of the body
}

// do makes one attempt. It authenticates if the registry asks for it, and follows
// redirects. The response's body ends with an error if the server stalls, and the caller
// must close it.
func (s *session) do(ctx context.Context, r request) (*http.Response, error) {
	used := s.authorization()
	resp, err := s.follow(ctx, r, used)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized && s.isRegistry(resp.Request.URL) {
		used, err = s.authorize(ctx, resp, used, r.what)
		drain(resp)
		if err != nil {
			return nil, err
		}
		if resp, err = s.follow(ctx, r, used); err != nil {
			return nil, err
		}
	}
	if !slices.Contains(r.accept, resp.StatusCode) {
		defer drain(resp)
		return nil, s.statusFailure(resp, r.what)
	}
	return resp, nil
}

// drain reads the rest of a short body, so that the connection can be used again.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxErrorSize)
	_ = resp.Body.Close()
}

// follow sends a request, and again to the places to which servers redirect it.
func (s *session) follow(ctx context.Context, r request, authorization string) (*http.Response, error) {
	target := r.url
	for range maxRedirects + 1 {
		resp, err := s.send(ctx, r, target, authorization)
		if err != nil {
			return nil, networkFailure(ctx, target, err)
		}
		if !isRedirect(r.method, resp.StatusCode) {
			return resp, nil
		}
		location := resp.Header.Get("Location")
		drain(resp)
		if target, err = s.next(target, location); err != nil {
			return nil, fail(source.ErrUnavailable, "%s: registry %s redirects the request, but %w", r.what, s.base.Host, err)
		}
	}
	return nil, fail(source.ErrUnavailable, "%s: registry %s redirects the request more than %d times", r.what, s.base.Host, maxRedirects)
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

// next returns the URL of a Location header. Errors do not contain its query, which can be
// a signature that gives access.
func (s *session) next(from *url.URL, location string) (*url.URL, error) {
	parsed, err := url.Parse(location)
	if err != nil || location == "" {
		return nil, errors.New("its header Location is missing or not a URL")
	}
	target := from.ResolveReference(parsed)
	target.Fragment = ""
	if err := s.checkTarget(target); err != nil {
		return nil, fmt.Errorf("its target %s is refused: %w", display(target), err)
	}
	return target, nil
}

// isRegistry reports whether a URL belongs to the registry itself. Only such a URL receives
// its authorization.
func (s *session) isRegistry(u *url.URL) bool {
	return u.Scheme == s.base.Scheme && hostKey(u) == hostKey(s.base)
}

// send makes a single HTTP request.
func (s *session) send(ctx context.Context, r request, target *url.URL, authorization string) (*http.Response, error) {
	watched, g := watch(ctx, s.stallLimit(r))
	req, err := http.NewRequestWithContext(watched, r.method, target.String(), nil)
	if err != nil {
		g.end()
		return nil, err
	}
	if r.header != nil {
		req.Header = r.header.Clone()
	}
	req.Header.Set("User-Agent", s.client.userAgent)
	if authorization != "" && s.isRegistry(target) {
		req.Header.Set("Authorization", authorization)
	}
	if r.body != nil {
		body, err := r.body()
		if err != nil {
			g.end()
			return nil, &failure{kind: source.ErrInvalid, reason: err}
		}
		req.Body, req.ContentLength = &guardedBody{ReadCloser: body, guard: g, sends: true}, r.size
		if r.size == 0 {
			req.Body = http.NoBody
			_ = body.Close()
		}
	}
	transport, err := s.transports.get(target)
	if err != nil {
		g.end()
		return nil, err
	}
	g.arm()
	resp, err := transport.RoundTrip(req)
	g.disarm()
	if err != nil {
		err = g.cause(err)
		g.end()
		return nil, err
	}
	resp.Request = req
	resp.Body = &guardedBody{ReadCloser: resp.Body, guard: g}
	return resp, nil
}

// stallLimit is longer for requests after which a registry works.
func (s *session) stallLimit(r request) time.Duration {
	if r.method == http.MethodPut || r.method == http.MethodPatch {
		return s.client.limits.commit
	}
	return s.client.limits.stall
}
