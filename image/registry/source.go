// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// acceptManifests lists the media types that the driver reads. Registries convert to or
// refuse others.
var acceptManifests = strings.Join([]string{
	string(types.OCIImageIndex),
	string(types.OCIManifestSchema1),
	string(types.DockerManifestList),
	string(types.DockerManifestSchema2),
}, ", ")

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

// Resolve makes one HEAD request, and a GET request if the registry does not answer the
// first one completely.
func (r *registrySource) Resolve(ctx context.Context) (v1.Descriptor, error) {
	var d v1.Descriptor
	err := r.session.client.retry(ctx, func() (err error) {
		if d, err = r.head(ctx); err == nil || !errors.Is(err, errIncomplete) {
			return err
		}
		d, err = r.get(ctx)
		return err
	})
	if err != nil {
		return v1.Descriptor{}, err
	}
	return d, nil
}

// errIncomplete is the answer of a registry that does not describe the manifest.
var errIncomplete = errors.New("incomplete description of the manifest")

func (r *registrySource) request(method string) request {
	identifier := r.ref.Tag()
	if r.ref.Digest() != "" {
		identifier = r.ref.Digest()
	}
	return request{
		method: method,
		url:    r.session.url("manifests", identifier),
		header: http.Header{"Accept": {acceptManifests}},
		what:   "image " + r.ref.String(),
		accept: []int{http.StatusOK},
	}
}

// head describes the manifest by the headers. A response to HEAD explains no error, so
// GET has to repeat a request that has failed for good.
func (r *registrySource) head(ctx context.Context) (v1.Descriptor, error) {
	resp, err := r.session.do(ctx, r.request(http.MethodHead))
	if err != nil {
		f, ok := errors.AsType[*failure](err)
		if ok && !f.transient && (f.status == http.StatusNotFound || f.status == http.StatusMethodNotAllowed || f.status == http.StatusBadRequest) {
			return v1.Descriptor{}, errIncomplete
		}
		return v1.Descriptor{}, err
	}
	drain(resp)
	d := v1.Descriptor{MediaType: mediaType(resp), Size: resp.ContentLength}
	if err := checkSchema(d.MediaType); err != nil {
		return v1.Descriptor{}, err
	}
	header := resp.Header.Get("Docker-Content-Digest")
	if header == "" {
		header = r.ref.Digest()
	}
	d.Digest, err = v1.NewHash(header)
	if err != nil || d.Size <= 0 || source.CheckDescriptor(d) != nil || !isManifest(d.MediaType) {
		return v1.Descriptor{}, errIncomplete
	}
	if want := r.ref.Digest(); want != "" && want != header {
		return v1.Descriptor{}, r.otherDigest(header)
	}
	return d, checkSize(d.Size, r.request("").what)
}

// get describes the manifest by its content.
func (r *registrySource) get(ctx context.Context) (v1.Descriptor, error) {
	request := r.request(http.MethodGet)
	resp, err := r.session.do(ctx, request)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer drain(resp)
	content, err := io.ReadAll(io.LimitReader(resp.Body, source.MaxManifestSize+1))
	if err != nil {
		return v1.Descriptor{}, networkFailure(ctx, resp.Request.URL, err)
	}
	if err := checkSize(int64(len(content)), request.what); err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: mediaType(resp), Size: int64(len(content))}
	if !isManifest(d.MediaType) {
		d.MediaType = detect(content, d.MediaType)
	}
	if err := checkSchema(d.MediaType); err != nil {
		return v1.Descriptor{}, err
	}
	sum := sha256.Sum256(content)
	d.Digest = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	if want := r.ref.Digest(); want != "" && want != d.Digest.String() {
		return v1.Descriptor{}, r.otherDigest(d.Digest.String())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resolved = content
	return d, nil
}

func (r *registrySource) otherDigest(got string) error {
	return fail(source.ErrInvalid, "image %s: registry %s sends the manifest with digest %s instead", r.ref, r.session.base.Host, clip(got))
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
	what := fmt.Sprintf("manifest %s of %s", d.Digest, r.ref)
	request := request{method: http.MethodGet, what: what, accept: []int{http.StatusOK}}
	if isManifest(d.MediaType) {
		request.url = r.session.url("manifests", d.Digest.String())
		request.header = http.Header{"Accept": {acceptManifests}}
	} else {
		request.what = fmt.Sprintf("config %s of %s", d.Digest, r.ref)
		request.url = r.session.url("blobs", d.Digest.String())
	}
	if err := checkSize(d.Size, request.what); err != nil {
		return nil, err
	}
	var content []byte
	return content, r.session.client.retry(ctx, func() (err error) {
		content, err = r.read(ctx, request, d)
		return err
	})
}

func (r *registrySource) read(ctx context.Context, request request, d v1.Descriptor) ([]byte, error) {
	resp, err := r.session.do(ctx, request)
	if err != nil {
		return nil, err
	}
	defer drain(resp)
	content, err := source.ReadManifest(resp.Body, d)
	switch {
	case err == nil && isManifest(d.MediaType):
		return content, checkSchema(detect(content, d.MediaType))
	case err == nil:
		return content, nil
	case errors.Is(err, source.ErrInvalid):
		return nil, fmt.Errorf("%s from registry %s: %w", request.what, r.session.base.Host, err)
	}
	return nil, networkFailure(ctx, resp.Request.URL, err)
}

func checkSize(size int64, what string) error {
	if size > source.MaxManifestSize {
		return fail(source.ErrInvalid, "%s has more than the %d bytes that are allowed for manifests and configs", what, source.MaxManifestSize)
	}
	return nil
}

func mediaType(resp *http.Response) types.MediaType {
	value, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
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

func checkSchema(t types.MediaType) error {
	if t.IsSchema1() {
		return fail(source.ErrInvalid, "the registry has the image in docker's schema 1, which no current program writes: push it again with a current docker, podman or skopeo")
	}
	return nil
}
