// SPDX-License-Identifier: MPL-2.0

// Package source defines how an image's blobs are read, wherever the image is stored: in a
// registry, in an OCI layout or in an archive.
//
// Everything that a Source returns is untrusted, except where a method says otherwise.
package source

import (
	"context"
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The kinds of errors by which callers decide. Messages name the object and the remedy.
var (
	// ErrNotFound: the repository, the tag, the file or the blob does not exist.
	ErrNotFound = errors.New("not found")
	// ErrUnauthorized: the registry refuses the credentials, or requires some.
	ErrUnauthorized = errors.New("not authorized")
	// ErrInvalid: the content is not a valid image, exceeds a limit, or does not match its
	// digest or size. Another attempt gives the same result.
	ErrInvalid = errors.New("invalid image")
	// ErrUnavailable: the registry cannot be reached, or failed. A later attempt may succeed.
	ErrUnavailable = errors.New("registry unavailable")
)

// MaxManifestSize is the largest manifest, index or config in bytes that is read.
const MaxManifestSize = 4 << 20

// A Source reads one image reference. Its methods may be called by several goroutines.
type Source interface {
	// Resolve returns the descriptor of the manifest or the index that the reference names:
	// its media type, digest and size. For a tag in a registry this is one request.
	Resolve(ctx context.Context) (v1.Descriptor, error)
	// Manifest returns the bytes of a manifest, an index or a config. They match the
	// descriptor's digest and have at most MaxManifestSize.
	Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error)
	// Blob opens a layer as it is stored, compressed or not. The reader retries transient
	// errors and continues where it stopped. It returns ErrInvalid instead of io.EOF if the
	// content does not match the descriptor's digest and size. The content may be used
	// only after io.EOF. It never returns more than the size.
	Blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
	// Close releases files and connections.
	Close() error
}
