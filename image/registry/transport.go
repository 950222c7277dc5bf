// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// transports are the connections of a session, in one pool for each server that has its
// own certificates, and in one pool for all others. No other session shares them, so that
// no connection stays open after its end.
type transports struct {
	client *Client
	ctx    context.Context // ends with the session
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	pools  map[string]*http.Transport
}

func newTransports(c *Client) *transports {
	t := &transports{client: c, pools: map[string]*http.Transport{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

func (t *transports) get(u *url.URL) (*http.Transport, error) {
	key := hostKey(u)
	config, configured := t.client.hosts[key]
	if !configured {
		key = ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, fail(source.ErrUnavailable, "the image has been closed")
	}
	pool := t.pools[key]
	if pool == nil {
		pool = t.open(config)
		t.pools[key] = pool
	}
	return pool, nil
}

func (t *transports) open(config host) *http.Transport {
	dialer := &net.Dialer{Timeout: t.client.limits.dial, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) { return t.client.proxy(r.URL) },
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return t.dial(ctx, dialer, network, address)
		},
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            config.roots,
			InsecureSkipVerify: config.SkipVerify,
		},
		TLSHandshakeTimeout:    t.client.limits.dial,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: maxHeaderSize,
		// Layers are compressed, and must be read as they are.
		DisableCompression: true,
		ReadBufferSize:     64 << 10,
		WriteBufferSize:    64 << 10,
	}
}

// dial makes a connection that the end of the session closes. A transport lets dials and
// TLS handshakes finish even if their requests have ended.
func (t *transports) dial(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	forget := context.AfterFunc(t.ctx, func() { conn.Close() })
	return &sessionConn{Conn: conn, forget: forget}, nil
}

// sessionConn is a connection that the end of the session closes.
type sessionConn struct {
	net.Conn
	forget func() bool
}

// Close closes the connection.
func (c *sessionConn) Close() error {
	c.forget()
	return c.Conn.Close()
}

func (t *transports) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.cancel()
	for _, pool := range t.pools {
		pool.CloseIdleConnections()
	}
}

// guard cancels a request while its server stalls. It is disarmed while the reader of a
// body does something else.
type guard struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

func watch(ctx context.Context, limit time.Duration) (context.Context, *guard) {
	g := &guard{limit: limit}
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	g.timer = time.AfterFunc(g.limit, func() {
		g.cancel(fmt.Errorf("%w for %v", errStalled, g.limit))
	})
	return g.ctx, g
}

func (g *guard) arm()    { g.timer.Reset(g.limit) }
func (g *guard) disarm() { g.timer.Stop() }

func (g *guard) end() {
	g.timer.Stop()
	g.cancel(nil)
}

// cause returns the reason of an error that the end of the context caused.
func (g *guard) cause(err error) error {
	if g.ctx.Err() != nil {
		return context.Cause(g.ctx)
	}
	return err
}

// guardedBody guards the reads of a body. The transport reads the body of a request
// while it waits for the response, so that guard stays armed.
type guardedBody struct {
	io.ReadCloser
	guard *guard
	sends bool
	// explain describes an error of a response, if it is set.
	explain func(error) error
}

func (b *guardedBody) Read(p []byte) (int, error) {
	b.guard.arm()
	n, err := b.ReadCloser.Read(p)
	if b.sends {
		return n, err
	}
	b.guard.disarm()
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader returns io.EOF itself
		err = b.guard.cause(err)
		if b.explain != nil {
			err = b.explain(err)
		}
	}
	return n, err
}

func (b *guardedBody) Close() error {
	err := b.ReadCloser.Close()
	if !b.sends {
		b.guard.end()
	}
	return err
}
