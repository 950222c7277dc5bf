// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// Pushable is a v1.Image or a v1.ImageIndex.
type Pushable interface {
	MediaType() (types.MediaType, error)
	Digest() (v1.Hash, error)
	RawManifest() ([]byte, error)
}

// Progress receives the uploaded and the total bytes of all blobs. Blobs that the registry
// has already count as uploaded.
type Progress func(done, total int64)

// Push uploads an image or an index with its images. The reference's tag names it; the
// digest of a reference must be that of the image. progress may be nil.
func (c *Client) Push(ctx context.Context, ref reference.Reference, credentials *Credentials, image Pushable, progress Progress) error {
	s, err := c.open(ref, credentials, "pull,push")
	if err != nil {
		return err
	}
	defer s.close()
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	if want := ref.Digest(); want != "" && want != digest.String() {
		return fmt.Errorf("cannot push to %s: the image has the digest %s: use a tag", ref, digest)
	}
	p := &push{session: s, ref: ref, progress: progress}
	if err := p.collect(image, 0); err != nil {
		return fmt.Errorf("push to %s: %w", ref, err)
	}
	defer p.end()
	var done int64
	for _, b := range p.blobs {
		if err := p.blob(ctx, b, done); err != nil {
			return err
		}
		done += b.size
	}
	for i, m := range p.manifests {
		name := m.digest.String()
		if i == len(p.manifests)-1 && ref.Tag() != "" {
			name = ref.Tag()
		}
		if err := p.manifest(ctx, m, name); err != nil {
			return err
		}
	}
	return nil
}

// maxPushDepth limits indexes in indexes.
const maxPushDepth = 4

type push struct {
	session   *session
	ref       reference.Reference
	blobs     []pushBlob
	manifests []pushManifest // those of an index come before it
	seen      map[v1.Hash]bool
	total     int64 // bytes of the blobs

	// A transport may read from the body of a request after the request has failed.
	mu       sync.Mutex
	progress Progress // nil after the push
	done     int64
	attempt  int // the number of the upload that counts
}

type pushBlob struct {
	digest v1.Hash
	size   int64
	open   func() (io.ReadCloser, error)
}

type pushManifest struct {
	digest    v1.Hash
	mediaType types.MediaType
	content   []byte
}

// collect lists the blobs and manifests to upload, each once.
func (p *push) collect(image Pushable, depth int) error {
	var err error
	switch image := image.(type) {
	case v1.Image:
		err = p.collectImage(image)
	case v1.ImageIndex:
		err = p.collectIndex(image, depth)
	default:
		err = errors.New("only images and indexes can be pushed")
	}
	if err != nil {
		return err
	}
	var m pushManifest
	if m.digest, err = image.Digest(); err != nil {
		return err
	}
	if m.mediaType, err = image.MediaType(); err != nil {
		return err
	}
	if m.content, err = image.RawManifest(); err != nil {
		return err
	}
	p.manifests = append(p.manifests, m)
	return nil
}

func (p *push) collectIndex(index v1.ImageIndex, depth int) error {
	if depth >= maxPushDepth {
		return fmt.Errorf("more than %d indexes inside one another", maxPushDepth)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range manifest.Manifests {
		var child Pushable
		if d.MediaType.IsIndex() {
			child, err = index.ImageIndex(d.Digest)
		} else {
			child, err = index.Image(d.Digest)
		}
		if err != nil {
			return err
		}
		if err := p.collect(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (p *push) collectImage(image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return err
		}
		size, err := layer.Size()
		if err != nil {
			return err
		}
		p.add(pushBlob{digest, size, layer.Compressed})
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	name, err := image.ConfigName()
	if err != nil {
		return err
	}
	p.add(pushBlob{name, int64(len(config)), func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(config)), nil
	}})
	return nil
}

func (p *push) add(b pushBlob) {
	if p.seen == nil {
		p.seen = map[v1.Hash]bool{}
	}
	if !p.seen[b.digest] {
		p.seen[b.digest] = true
		p.blobs = append(p.blobs, b)
		p.total += b.size
	}
}

// begin sets the count for a new upload, and returns its number.
func (p *push) begin(done int64) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempt++
	p.done = done
	if p.progress != nil {
		p.progress(p.done, p.total)
	}
	return p.attempt
}

// count adds uploaded bytes, except those of an earlier upload.
func (p *push) count(attempt, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if attempt != p.attempt || n <= 0 {
		return
	}
	p.done += int64(n)
	if p.progress != nil {
		p.progress(p.done, p.total)
	}
}

// end stops the reports.
func (p *push) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress = nil
}

// blob uploads a blob unless the registry has it. done is the size of the earlier ones.
// Each attempt begins anew.
func (p *push) blob(ctx context.Context, b pushBlob, done int64) error {
	what := fmt.Sprintf("blob %s of %s", b.digest, p.ref)
	return p.session.client.retry(ctx, func() error {
		found, err := p.exists(ctx, b, what)
		if err != nil {
			return err
		}
		if !found {
			if err := p.upload(ctx, b, what, done); err != nil {
				return err
			}
		}
		p.begin(done + b.size)
		return nil
	})
}

func (p *push) exists(ctx context.Context, b pushBlob, what string) (bool, error) {
	resp, err := p.session.do(ctx, request{
		method: http.MethodHead,
		url:    p.session.url("blobs", b.digest.String()),
		what:   what,
		accept: []int{http.StatusOK, http.StatusNotFound},
	})
	if err != nil {
		return false, err
	}
	drain(resp)
	return resp.StatusCode == http.StatusOK, nil
}

// upload sends a blob in one piece: POST gets a place for it, PATCH sends it, PUT says
// that it is complete.
func (p *push) upload(ctx context.Context, b pushBlob, what string, done int64) error {
	start := request{method: http.MethodPost, url: p.session.url("blobs", "uploads", ""), what: what, accept: []int{http.StatusAccepted}}
	place, err := p.step(ctx, start)
	if err != nil {
		return err
	}
	place, err = p.step(ctx, request{
		method: http.MethodPatch,
		url:    place,
		header: http.Header{"Content-Type": {"application/octet-stream"}},
		what:   what,
		accept: []int{http.StatusAccepted, http.StatusNoContent, http.StatusCreated},
		size:   b.size,
		body: func() (io.ReadCloser, error) {
			content, err := b.open()
			if err != nil {
				return nil, err
			}
			return &countingBody{ReadCloser: content, push: p, attempt: p.begin(done)}, nil
		},
	})
	if err != nil {
		return err
	}
	query := place.Query()
	query.Set("digest", b.digest.String())
	place.RawQuery = query.Encode()
	resp, err := p.session.do(ctx, request{
		method: http.MethodPut,
		url:    place,
		header: http.Header{"Content-Type": {"application/octet-stream"}},
		what:   what,
		accept: []int{http.StatusCreated, http.StatusNoContent},
	})
	if err != nil {
		return err
	}
	drain(resp)
	return nil
}

// step makes a request of an upload, and returns the place for the next one.
func (p *push) step(ctx context.Context, r request) (*url.URL, error) {
	resp, err := p.session.do(ctx, r)
	if err != nil {
		return nil, err
	}
	drain(resp)
	place, err := p.session.next(resp.Request.URL, resp.Header.Get("Location"))
	if err != nil {
		return nil, fail(source.ErrUnavailable, "%s: registry %s names a place for the upload, but %w", r.what, p.session.base.Host, err)
	}
	return place, nil
}

func (p *push) manifest(ctx context.Context, m pushManifest, name string) error {
	return p.session.client.retry(ctx, func() error {
		resp, err := p.session.do(ctx, request{
			method: http.MethodPut,
			url:    p.session.url("manifests", name),
			header: http.Header{"Content-Type": {string(m.mediaType)}},
			what:   fmt.Sprintf("manifest %s of %s", m.digest, p.ref),
			accept: []int{http.StatusCreated, http.StatusOK, http.StatusAccepted},
			size:   int64(len(m.content)),
			body: func() (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(m.content)), nil
			},
		})
		if err != nil {
			return err
		}
		drain(resp)
		return nil
	})
}

// countingBody counts the bytes of an upload.
type countingBody struct {
	io.ReadCloser
	push    *push
	attempt int
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.push.count(b.attempt, n)
	return n, err
}
