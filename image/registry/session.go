// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
)

// session is the state of one image: its connections and its login.
type session struct {
	client      *Client
	base        *url.URL // of the registry
	repo        string
	action      string
	scopes      []string // of the token
	credentials *Credentials
	attempts    int // of a request that fails for a reason that can pass
	transports  *transports

	// authorizing holds one element while a request logs in, so that parallel requests
	// log in once.
	authorizing   chan struct{}
	authenticated http.RoundTripper // nil until then; adds the login to requests

	mu    sync.Mutex
	asked bool              // the registry has asked for credentials
	login *login            // nil until they have been looked up
	late  http.RoundTripper // replaces authenticated if the registry asked later than at /v2/
}

// The actions of a session. All but actionPing are in the scope of a token.
const (
	actionPull = "pull"
	actionPush = "push,pull"
	actionPing = ""
)

// open starts a session that may take an action in the repository of ref.
func (c *Client) open(ref reference.Reference, credentials *Credentials, action string) (*session, error) {
	if ref.Transport() != reference.Registry {
		return nil, fmt.Errorf("image reference %q does not name a registry", ref)
	}
	return &session{
		client:      c,
		base:        c.baseURL(ref.Host()),
		repo:        ref.Repository(),
		action:      action,
		scopes:      []string{"repository:" + ref.Repository() + ":" + action},
		credentials: credentials,
		attempts:    c.limits.attempts,
		transports:  newTransports(c),
		authorizing: make(chan struct{}, 1),
	}, nil
}

func (s *session) close() { s.transports.close() }

// repository returns the library's name of the repository.
func (s *session) repository() (name.Repository, error) {
	return name.NewRepository(s.base.Host + "/" + s.repo)
}

// transport returns the library's transport, which adds the login to each request. The
// first call asks the registry which login it wants, with one GET request for /v2/.
func (s *session) transport(ctx context.Context) (http.RoundTripper, error) {
	select {
	case s.authorizing <- struct{}{}:
		defer func() { <-s.authorizing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("login to registry %s: %w", s.base.Host, context.Cause(ctx))
	}
	if s.authenticated != nil {
		return s.authenticated, nil
	}
	t, err := s.logIn(purpose{what: "registry " + s.base.Host, ping: true}.in(ctx))
	if err != nil {
		return nil, err
	}
	s.authenticated = t
	return t, nil
}

func (s *session) logIn(ctx context.Context) (http.RoundTripper, error) {
	registry, err := name.NewRegistry(s.base.Host)
	if err != nil {
		return nil, err
	}
	t, err := transport.NewWithContext(ctx, registry, s, s, s.scopes)
	if err != nil {
		return nil, s.loginFailure(ctx, s.explain(ctx, err, "registry "+s.base.Host))
	}
	return t, nil
}

// get makes a GET request. The caller must close the body.
func (s *session) get(ctx context.Context, about purpose, path string, header http.Header, accept ...int) (*http.Response, error) {
	t, err := s.transport(ctx)
	if err != nil {
		return nil, err
	}
	u := *s.base
	u.Path = path
	req, err := http.NewRequestWithContext(about.in(ctx), http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header
	}
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return nil, s.explain(ctx, err, about.what)
	}
	if slices.Contains(accept, resp.StatusCode) {
		return resp, nil
	}
	defer drain(resp)
	return nil, s.statusFailure(resp, about.what)
}

// drain reads the rest of a short body, so that the connection can be used again.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxErrorSize)
	_ = resp.Body.Close()
}

// purpose describes a request to the RoundTripper below the library.
type purpose struct {
	what   string // the object, for errors
	stream bool   // the body is a blob, whose reader limits it
	ping   bool   // the request, if it is for /v2/, asks which login the registry wants
	again  bool   // the request goes through the transport of a late login
	// challenge answers a ping, if it is set.
	challenge http.Header
}

type purposeKey struct{}

func (p purpose) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, purposeKey{}, p)
}

func (s *session) purposeOf(req *http.Request) purpose {
	p, ok := req.Context().Value(purposeKey{}).(purpose)
	if !ok {
		p.what = "registry " + s.base.Host
	}
	if isLogin(req) {
		p = purpose{what: "login to registry " + s.base.Host}
	}
	return p
}
