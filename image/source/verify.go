// SPDX-License-Identifier: MPL-2.0

package source

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// CheckDescriptor returns ErrInvalid for a descriptor that no blob can match: the digest is
// not a SHA-256, or the size is negative. An attacker may have written it.
func CheckDescriptor(d v1.Descriptor) error {
	raw, err := hex.DecodeString(d.Digest.Hex)
	if d.Digest.Algorithm != "sha256" || err != nil || len(raw) != sha256.Size || d.Digest.Hex != hex.EncodeToString(raw) {
		return fmt.Errorf("%w: unsupported digest %.80q: it must be sha256 and 64 hexadecimal digits", ErrInvalid, d.Digest.String())
	}
	if d.Size < 0 {
		return fmt.Errorf("%w: negative size %d of %s", ErrInvalid, d.Size, d.Digest)
	}
	return nil
}

// ReadManifest reads a manifest, an index or a config, and compares it with its descriptor.
func ReadManifest(r io.Reader, d v1.Descriptor) ([]byte, error) {
	if d.Size > MaxManifestSize {
		return nil, fmt.Errorf("%w: %s has %d bytes, and the limit for manifests and configs is %d", ErrInvalid, d.Digest, d.Size, MaxManifestSize)
	}
	verified, err := Verify(io.NopCloser(r), d)
	if err != nil {
		return nil, err
	}
	// The descriptor's size may be much larger than the content.
	var content bytes.Buffer
	if _, err := content.ReadFrom(verified); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}

// Verify returns a reader that ends in ErrInvalid instead of io.EOF if the content does not
// match the descriptor's digest and size. It returns at most as many bytes as the size.
func Verify(r io.ReadCloser, d v1.Descriptor) (io.ReadCloser, error) {
	if err := CheckDescriptor(d); err != nil {
		return nil, err
	}
	return &verifier{ReadCloser: r, descriptor: d, left: d.Size, sum: sha256.New()}, nil
}

type verifier struct {
	io.ReadCloser
	descriptor v1.Descriptor
	left       int64
	sum        hash.Hash
	err        error // of an earlier Read
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil || len(p) == 0 {
		return 0, v.err
	}
	if v.left == 0 {
		v.err = v.finish()
		return 0, v.err
	}
	n, err := v.ReadCloser.Read(p[:min(int64(len(p)), v.left)])
	v.sum.Write(p[:n])
	v.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && v.left > 0:
		v.err = fmt.Errorf("%w: %s ends after %d of %d bytes", ErrInvalid, v.descriptor.Digest, v.descriptor.Size-v.left, v.descriptor.Size)
	case errors.Is(err, io.EOF):
		// The next call compares the digest.
	default:
		v.err = err
	}
	return n, v.err
}

// finish checks that the content ends where it should, and has the digest.
func (v *verifier) finish() error {
	var extra [1]byte
	switch n, err := io.ReadFull(v.ReadCloser, extra[:]); {
	case n > 0:
		return fmt.Errorf("%w: %s has more than the %d bytes of its descriptor", ErrInvalid, v.descriptor.Digest, v.descriptor.Size)
	case !errors.Is(err, io.EOF):
		return err
	}
	if sum := hex.EncodeToString(v.sum.Sum(nil)); sum != v.descriptor.Digest.Hex {
		return fmt.Errorf("%w: the content has the digest sha256:%s instead of %s", ErrInvalid, sum, v.descriptor.Digest)
	}
	return io.EOF
}
