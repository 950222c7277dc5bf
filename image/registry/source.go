// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// registrySource reads one image of a registry.
type registrySource struct {
	session *session
	ref     reference.Reference

	mu       sync.Mutex
	resolved []byte // the manifest, if Resolve has read it
}

var _ source.Source = (*registrySource)(nil)

// Close closes the connections. Readers of blobs must be closed before.
func (r *registrySource) Close() error {
	r.session.close()
	return nil
}

// Resolve makes one HEAD request after the login, and a GET request if the registry does not
// answer the first one completely.
func (r *registrySource) Resolve(ctx context.Context) (v1.Descriptor, error) {
	what := "manifest " + cmp.Or(r.ref.Digest(), r.ref.Tag())
	t, err := r.session.transport(ctx)
	if err != nil {
		return v1.Descriptor{}, err
	}
	repo, err := r.session.repository()
	if err != nil {
		return v1.Descriptor{}, err
	}
	var ref name.Reference = repo.Tag(r.ref.Tag())
	if r.ref.Digest() != "" {
		ref = repo.Digest(r.ref.Digest())
	}
	options := []remote.Option{remote.WithTransport(t), remote.WithContext(purpose{what: what}.in(ctx))}
	if d, err := remote.Head(ref, options...); err == nil {
		if err := checkManifest(*d, what); err != nil {
			return v1.Descriptor{}, err
		}
		if d.Size > 0 && source.CheckDescriptor(*d) == nil && isManifest(d.MediaType) {
			return *d, nil
		}
	} else if err := r.session.explain(ctx, err, what); !r.mustGet(ctx, err) {
		return v1.Descriptor{}, err
	}
	got, err := r.fetch(ctx, ref, what)
	if err != nil {
		return v1.Descriptor{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resolved = got.Manifest
	return got.Descriptor, nil
}

// fetch reads a manifest, and finds its type.
func (r *registrySource) fetch(ctx context.Context, ref name.Reference, what string) (*remote.Descriptor, error) {
	t, err := r.session.transport(ctx)
	if err != nil {
		return nil, err
	}
	var d *remote.Descriptor
	err = r.session.client.retry(ctx, r.session.attempts, func() (err error) {
		d, err = remote.Get(ref, remote.WithTransport(t), remote.WithContext(purpose{what: what}.in(ctx)))
		if err == nil {
			return nil
		}
		if err = r.session.explain(ctx, err, what); isExplained(ctx, err) {
			return err
		}
		return fail(source.ErrInvalid, "%s from registry %s: %s", what, r.session.base.Host, clip(err.Error()))
	})
	if err != nil {
		return nil, err
	}
	if d.MediaType = mediaType(d.MediaType); !isManifest(d.MediaType) {
		d.MediaType = detect(d.Manifest, d.MediaType)
	}
	return d, checkManifest(d.Descriptor, what)
}

// mustGet reports whether a failed HEAD request must be repeated as GET. The answer did not
// describe the manifest, or its body would explain the error.
func (r *registrySource) mustGet(ctx context.Context, err error) bool {
	f, ok := errors.AsType[*failure](err)
	if !ok {
		return ctx.Err() == nil
	}
	return f.status == http.StatusNotFound || f.status == http.StatusMethodNotAllowed || f.status == http.StatusBadRequest
}

// Manifest reads a manifest, an index or a config.
func (r *registrySource) Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	r.mu.Lock()
	resolved := r.resolved
	r.mu.Unlock()
	if resolved != nil {
		if content, err := source.ReadManifest(bytes.NewReader(resolved), d); err == nil {
			return content, nil
		}
	}
	if err := source.CheckDescriptor(d); err != nil {
		return nil, err
	}
	what := d.Digest.String()
	if err := checkManifest(d, what); err != nil {
		return nil, err
	}
	if !isManifest(d.MediaType) {
		blob, err := r.open(ctx, d, "config "+what)
		if err != nil {
			return nil, err
		}
		defer blob.Close()
		return source.ReadManifest(blob, d)
	}
	repo, err := r.session.repository()
	if err != nil {
		return nil, err
	}
	got, err := r.fetch(ctx, repo.Digest(d.Digest.String()), "manifest "+what)
	if err != nil {
		return nil, err
	}
	return source.ReadManifest(bytes.NewReader(got.Manifest), d)
}

// mediaType removes the parameters of a media type.
func mediaType(t types.MediaType) types.MediaType {
	value, _, err := mime.ParseMediaType(string(t))
	if err != nil {
		return ""
	}
	return types.MediaType(value)
}

// isManifest reports whether an object of the type is stored among the manifests.
func isManifest(t types.MediaType) bool { return t.IsImage() || t.IsIndex() || t.IsSchema1() }

// detect finds the type of a manifest in its content. OCI manifests need not contain it.
func detect(content []byte, otherwise types.MediaType) types.MediaType {
	var m struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Config        json.RawMessage `json:"config"`
	}
	switch err := json.Unmarshal(content, &m); {
	case err != nil:
		return otherwise
	case m.SchemaVersion == 1:
		return types.DockerManifestSchema1
	case m.MediaType != "":
		return m.MediaType
	case m.Manifests != nil:
		return types.OCIImageIndex
	case m.Config != nil:
		return types.OCIManifestSchema1
	}
	return otherwise
}

// checkManifest refuses what can never be read.
func checkManifest(d v1.Descriptor, what string) error {
	if d.Size > source.MaxManifestSize {
		return fail(source.ErrInvalid, "%s has more than the %d bytes that are allowed for manifests and configs", what, source.MaxManifestSize)
	}
	if d.MediaType.IsSchema1() {
		return fail(source.ErrInvalid, "%s: the registry has it in docker's schema 1, which no current program writes: push it again with a current docker, podman or skopeo", what)
	}
	return nil
}
