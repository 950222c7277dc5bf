// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
)

// Pushable is a v1.Image or a v1.ImageIndex.
type Pushable interface {
	MediaType() (types.MediaType, error)
	Digest() (v1.Hash, error)
	RawManifest() ([]byte, error)
}

// ProgressFunc receives the uploaded and the total bytes of all blobs. Blobs that the registry
// has already count as uploaded.
type ProgressFunc func(done, total int64)

// Push uploads an image or an index with its images. The reference's tag names it; the
// digest of a reference must be that of the image. progress may be nil.
//
// It uploads each blob, even if the registry has the manifest. So a push of the same image
// mends a registry that has lost a blob.
func (c *Client) Push(ctx context.Context, ref reference.Reference, credentials *Credentials, image Pushable, progress ProgressFunc) error {
	s, err := c.open(ref, credentials, actionPush)
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
	p := &push{session: s, ref: ref, progress: progress, seen: map[v1.Hash]bool{}}
	if err := p.collect(image, 0); err != nil {
		return fmt.Errorf("push to %s: %w", ref, err)
	}
	defer p.end()
	t, err := s.transport(ctx)
	if err != nil {
		return err
	}
	once := remote.Backoff{Steps: 1} // the library's pauses do not end with the context
	if p.pusher, err = remote.NewPusher(remote.WithTransport(t), remote.WithRetryBackoff(once)); err != nil {
		return err
	}
	return p.run(ctx)
}

// maxPushDepth limits indexes in indexes.
const maxPushDepth = 4

type push struct {
	session   *session
	pusher    *remote.Pusher
	ref       reference.Reference
	blobs     []*pushBlob
	manifests []Pushable // those of an index come before it
	seen      map[v1.Hash]bool
	total     int64 // bytes of the blobs

	// A transport may read from the body of a request after the request has failed.
	mu       sync.Mutex
	progress ProgressFunc // nil after the push
	done     int64
	upload   *countingBody // the one that counts
}

// collect lists the blobs and manifests to upload, each once.
func (p *push) collect(image Pushable, depth int) error {
	if depth > maxPushDepth {
		return fmt.Errorf("more than %d indexes inside one another", maxPushDepth)
	}
	switch image := image.(type) {
	case v1.Image:
		layers, err := image.Layers()
		if err != nil {
			return err
		}
		config, err := partial.ConfigLayer(image)
		if err != nil {
			return err
		}
		for _, layer := range append(layers, config) {
			if err := p.add(layer); err != nil {
				return err
			}
		}
	case v1.ImageIndex:
		children, err := partial.Manifests(image)
		if err != nil {
			return err
		}
		for _, child := range children {
			manifest, _ := child.(Pushable)
			if err := p.collect(manifest, depth+1); err != nil {
				return err
			}
		}
	default:
		return errors.New("only images and indexes can be pushed")
	}
	p.manifests = append(p.manifests, image)
	return nil
}

func (p *push) add(layer v1.Layer) error {
	digest, err := layer.Digest()
	if err != nil || p.seen[digest] {
		return err
	}
	size, err := layer.Size()
	if err != nil {
		return err
	}
	p.seen[digest] = true
	p.blobs = append(p.blobs, &pushBlob{Layer: layer, push: p, digest: digest, begin: p.total})
	p.total += size
	return nil
}

func (p *push) run(ctx context.Context) error {
	repo, err := p.session.repository()
	if err != nil {
		return err
	}
	for i, blob := range p.blobs {
		err := p.retry(ctx, fmt.Sprintf("blob %s of %s", blob.digest, p.ref), func(ctx context.Context) error {
			return p.pusher.Upload(ctx, repo, blob)
		})
		if err != nil {
			return err
		}
		end := p.total
		if i+1 < len(p.blobs) {
			end = p.blobs[i+1].begin
		}
		p.report(nil, end)
	}
	for i, manifest := range p.manifests {
		digest, err := manifest.Digest()
		if err != nil {
			return err
		}
		var target name.Reference = repo.Digest(digest.String())
		if i == len(p.manifests)-1 && p.ref.Tag() != "" {
			target = repo.Tag(p.ref.Tag())
		}
		err = p.retry(ctx, fmt.Sprintf("manifest %s of %s", digest, p.ref), func(ctx context.Context) error {
			return p.pusher.Put(ctx, target, manifest)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// retry repeats an upload that fails for a reason that can pass.
func (p *push) retry(ctx context.Context, what string, upload func(context.Context) error) error {
	return p.session.client.retry(ctx, p.session.attempts, func() error {
		err := upload(purpose{what: what}.in(ctx))
		if err == nil {
			return nil
		}
		if err = p.session.explain(ctx, err, what); isExplained(ctx, err) {
			return err
		}
		return fmt.Errorf("%s: registry %s: %w", what, p.session.base.Host, err)
	})
}

// report sets the uploaded bytes. From now on, only the bytes of upload count.
func (p *push) report(upload *countingBody, done int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.upload, p.done = upload, done
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

// pushBlob counts the bytes of its uploads. The library's own progress does not know the
// total from the beginning, and a late read of a transport makes it panic.
type pushBlob struct {
	v1.Layer
	push   *push
	digest v1.Hash
	begin  int64 // bytes of the blobs before it
}

// Compressed begins a new upload.
func (b *pushBlob) Compressed() (io.ReadCloser, error) {
	content, err := b.Layer.Compressed()
	if err != nil {
		return nil, err
	}
	body := &countingBody{ReadCloser: content, push: b.push}
	b.push.report(body, b.begin)
	return body, nil
}

type countingBody struct {
	io.ReadCloser
	push *push
}

func (b *countingBody) Read(buffer []byte) (int, error) {
	n, err := b.ReadCloser.Read(buffer)
	p := b.push
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.upload == b && n > 0 && p.progress != nil {
		p.done += int64(n)
		p.progress(p.done, p.total)
	}
	return n, err
}
