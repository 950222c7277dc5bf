// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// Blob opens a layer. The reader ends with the context.
func (r *registrySource) Blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return r.open(ctx, d, "layer "+d.Digest.String())
}

func (r *registrySource) open(ctx context.Context, d v1.Descriptor, what string) (io.ReadCloser, error) {
	b := &blobReader{session: r.session, ctx: ctx, descriptor: d, what: what}
	verified, err := source.Verify(b, d)
	if err != nil {
		return nil, err
	}
	if err := b.resume(nil); err != nil {
		return nil, err
	}
	return verified, nil
}

// blobReader returns the bytes of a blob, across several requests if connections break
// off. It does not verify them.
type blobReader struct {
	session    *session
	ctx        context.Context
	descriptor v1.Descriptor
	what       string

	body     io.ReadCloser // of the current response, or nil
	offset   int64         // of the next byte
	failures int           // since checkpoint
	// checkpoint is the offset at which the counting of failures began.
	checkpoint int64
	noRange    bool // the registry's answers to ranges are wrong
}

// errEarlyEnd is a response that ends correctly before the end of the blob.
var errEarlyEnd = errors.New("the response ends before the end of the blob")

func (b *blobReader) Read(p []byte) (int, error) {
	for {
		if b.body == nil {
			return 0, io.EOF // after the end, or after an error
		}
		n, err := b.body.Read(p)
		b.offset += int64(n)
		switch {
		case err == nil || n > 0 && b.offset <= b.descriptor.Size:
			// Reading again returns an error again.
			return n, nil
		case b.offset >= b.descriptor.Size:
			// All bytes have arrived. A connection that breaks off later does no harm.
			return n, io.EOF
		case errors.Is(err, io.EOF):
			err = errEarlyEnd
		}
		if err := b.resume(err); err != nil {
			return 0, err
		}
	}
}

// Close ends the current request.
func (b *blobReader) Close() error {
	if b.body == nil {
		return nil
	}
	err := b.body.Close()
	b.body = nil
	return err
}

// resume requests the rest of the blob, after the cause of the last request's end. It
// repeats failures that can pass.
func (b *blobReader) resume(cause error) error {
	_ = b.Close()
	if b.offset-b.checkpoint >= b.session.client.limits.progress {
		b.checkpoint, b.failures = b.offset, 0
	}
	for {
		if cause != nil {
			if err := b.prepare(cause); err != nil {
				return err
			}
		}
		if cause = b.open(); cause == nil {
			return nil
		}
	}
}

// prepare waits before the next request, unless the cause is final.
func (b *blobReader) prepare(cause error) error {
	c := b.session.client
	f, ok := errors.AsType[*failure](cause)
	switch {
	case errors.Is(cause, errEarlyEnd):
		f = fail(source.ErrInvalid, "%s: the registry sends %d of %d bytes", b.what, b.offset, b.descriptor.Size)
	case !ok || !f.transient || b.ctx.Err() != nil:
		return cause
	}
	b.failures++
	if b.failures >= c.limits.attempts {
		return &failure{kind: f.kind, reason: fmt.Errorf("%s: %w (%d attempts, %d of %d bytes)", b.what, f.reason, b.failures, b.offset, b.descriptor.Size)}
	}
	return c.waitAfter(b.ctx, f, b.failures, c.limits.attempts)
}

// open sends one request for the bytes from the offset on.
func (b *blobReader) open() error {
	accept := []int{http.StatusOK}
	var header http.Header
	if b.offset > 0 && !b.noRange {
		header = http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", b.offset, b.descriptor.Size-1)}}
		accept = append(accept, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
	}
	path := fmt.Sprintf("/v2/%s/blobs/%s", b.session.repo, b.descriptor.Digest)
	resp, err := b.session.get(b.ctx, purpose{what: b.what, stream: true}, path, header, accept...)
	if err != nil {
		return err
	}
	if err := b.begin(resp); err != nil {
		_ = resp.Body.Close()
		return err
	}
	b.body = resp.Body
	return nil
}

// begin brings a response to the offset.
func (b *blobReader) begin(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusOK:
		if n := resp.ContentLength; n >= 0 && n != b.descriptor.Size {
			return fail(source.ErrInvalid, "%s: %s sends %d bytes, but the manifest says %d", b.what, resp.Request.URL.Host, n, b.descriptor.Size)
		}
		// The server has ignored the range.
		if n, err := io.CopyN(io.Discard, resp.Body, b.offset); err != nil {
			if errors.Is(err, io.EOF) {
				return fail(source.ErrInvalid, "%s: %s sent %d bytes first, and only %d later", b.what, resp.Request.URL.Host, b.offset, n)
			}
			return err
		}
		return nil
	case http.StatusPartialContent:
		if begin, ok := rangeBegin(resp.Header.Get("Content-Range")); ok && begin == b.offset {
			return nil
		}
	}
	// The next request asks for the whole blob.
	b.noRange = true
	f := fail(source.ErrUnavailable, "%s: %s answers %s with the wrong range %.80q", b.what, resp.Request.URL.Host, clip(resp.Status), resp.Header.Get("Content-Range"))
	f.transient = true
	return f
}

// rangeBegin returns the first number of a Content-Range header, "bytes 5-9/10".
func rangeBegin(header string) (int64, bool) {
	rest, ok := strings.CutPrefix(header, "bytes ")
	begin, _, dash := strings.Cut(rest, "-")
	n, err := strconv.ParseInt(begin, 10, 64)
	return n, ok && dash && err == nil
}
