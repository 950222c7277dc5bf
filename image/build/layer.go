// SPDX-License-Identifier: MPL-2.0

package build

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/ctxreader"
)

// A Compression is how layers are compressed.
type Compression string

// The compressions. Every registry and tool takes gzip.
const (
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
)

func (c Compression) mediaType() types.MediaType {
	if c == Zstd {
		return types.OCILayerZStd
	}
	return types.OCILayer
}

// compress returns a writer whose output depends on the input only.
func (c Compression) compress(w io.Writer) (io.WriteCloser, error) {
	switch c {
	case Gzip, "":
		return gzip.NewWriterLevel(w, gzip.DefaultCompression)
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	}
	return nil, fmt.Errorf("unknown compression %q: use gzip or zstd", string(c))
}

// maxZstdMemory limits the window of a zstd file in bytes. zstd --long creates windows of
// 128 MiB.
const maxZstdMemory = 128 << 20

// decompress returns the content of a tar file, which may be compressed by gzip or zstd.
func decompress(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 1<<20)
	start, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(start, []byte("\x1f\x8b")):
		return gzip.NewReader(buffered)
	case bytes.Equal(start, []byte("\x28\xb5\x2f\xfd")):
		decoder, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxZstdMemory), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return decoder.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}

// layer is a compressed layer in a file without a name.
type layer struct {
	file           *os.File
	size           int64
	digest, diffID v1.Hash
	mediaType      types.MediaType
}

// newLayer compresses a tar archive into a file, and checks that the driver can unpack it.
func newLayer(ctx context.Context, archive io.Reader, c Compression) (_ *layer, err error) {
	file, err := os.CreateTemp("", "lkl-layer-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	if err := os.Remove(file.Name()); err != nil {
		return nil, err
	}
	stored, plain := sha256.New(), sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(file, stored), 1<<20)
	compressor, err := c.compress(buffered)
	if err != nil {
		return nil, err
	}
	tee := io.TeeReader(ctxreader.New(ctx, archive), io.MultiWriter(compressor, plain))
	if err := checkEntries(tee); err != nil {
		return nil, err
	}
	// The rest of the archive is padding.
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return nil, err
	}
	if err := errors.Join(compressor.Close(), buffered.Flush()); err != nil {
		return nil, err
	}
	size, err := file.Seek(0, io.SeekEnd)
	return &layer{file: file, size: size, digest: hashOf(stored), diffID: hashOf(plain), mediaType: c.mediaType()}, err
}

func hashOf(sum hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
}

// checkEntries refuses entries that have another meaning in a layer, and names that no root
// disk can have.
func checkEntries(archive io.Reader) error {
	r := tar.NewReader(archive)
	for {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, tar.ErrInsecurePath):
			return fmt.Errorf("read the tar archive: %w", err)
		case strings.HasPrefix(path.Base(h.Name), ".wh."):
			return fmt.Errorf("%q: a name that begins with \".wh.\" removes a file in an image: rename it", h.Name)
		case slices.Contains(strings.Split(h.Name, "/"), ".."):
			return fmt.Errorf("%q: the path contains \"..\"", h.Name)
		case strings.ContainsAny(h.Name, "\n\r"):
			return fmt.Errorf("%q: the name contains a line break: rename it", h.Name)
		}
	}
}

// stream returns what write writes. Closing the reader ends write.
func stream(write func(io.Writer) error) io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(write(w)) }()
	return r
}

// Digest returns the digest of the compressed layer.
func (l *layer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID returns the digest of the uncompressed layer.
func (l *layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// Size returns the size of the compressed layer in bytes.
func (l *layer) Size() (int64, error) { return l.size, nil }

// MediaType returns the media type, which names the compression.
func (l *layer) MediaType() (types.MediaType, error) { return l.mediaType, nil }

// Compressed opens the layer.
func (l *layer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(l.file, 0, l.size)), nil
}

// Uncompressed opens the tar archive.
func (l *layer) Uncompressed() (io.ReadCloser, error) {
	return decompress(io.NewSectionReader(l.file, 0, l.size))
}
