// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow bounds the memory in bytes that a zstd decoder needs. It is the largest
// window of the levels 1 to 20 of the zstd program, and of the tools that build images.
const maxZstdWindow = 32 << 20

// errDamaged is the cause of errors such as "unexpected EOF".
var errDamaged = errors.New("it is damaged or incomplete")

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	// otherFormats are the first bytes of formats that are not supported.
	otherFormats = map[string]string{"BZh": "bzip2", "\xfd7zXZ": "xz", "\x04\x22\x4d\x18": "lz4"}
)

// decompress returns the content of an archive, plain or compressed, as its first bytes
// show. Another goroutine reads and decompresses it, until the result is closed.
func decompress(in *sourceReader, limits *spoolLimits) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(in, 1<<16)
	magic, err := buffered.Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	plain, release := io.Reader(buffered), func() {}
	switch {
	case bytes.HasPrefix(magic, gzipMagic):
		decoder, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, in.explain(err)
		}
		plain = &decodingReader{decoder, in}
	case bytes.HasPrefix(magic, zstdMagic):
		decoder, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderMaxMemory(uint64(max(limits.unpacked, 1))))
		if err != nil {
			return nil, in.explain(err)
		}
		plain, release = &decodingReader{decoder, in}, decoder.Close
	default:
		for prefix, name := range otherFormats {
			if bytes.HasPrefix(magic, []byte(prefix)) {
				return nil, fmt.Errorf("compressed by %s: use gzip, zstd or no compression", name)
			}
		}
	}
	return &unpackedReader{readAhead: newReadAhead(plain), limits: limits, release: release}, nil
}

// sourceReader keeps the error of a reader, so that it can be distinguished from an error
// in the content.
type sourceReader struct {
	r   io.Reader
	err error // not io.EOF
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// explain returns the error for one of a decoder.
func (s *sourceReader) explain(err error) error {
	switch {
	case s.err != nil:
		return s.err
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Errorf("its zstd window exceeds %d MiB: compress it with a level of at most 20, without --long: %w", maxZstdWindow>>20, err)
	}
	return fmt.Errorf("%w: %s", errDamaged, err) //nolint:errorlint // not the caller's io.ErrUnexpectedEOF
}

// decodingReader explains the errors of a decoder.
type decodingReader struct {
	decoder io.Reader
	source  *sourceReader
}

func (d *decodingReader) Read(p []byte) (int, error) {
	n, err := d.decoder.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = d.source.explain(err)
	}
	return n, err
}

// unpackedReader limits the bytes that layers unpack to.
type unpackedReader struct {
	*readAhead
	limits  *spoolLimits
	release func()
}

func (u *unpackedReader) Read(p []byte) (int, error) {
	n, err := u.readAhead.Read(p)
	if u.limits.unpacked -= int64(n); u.limits.unpacked < 0 {
		return 0, u.limits.errUnpacked()
	}
	return n, err
}

func (u *unpackedReader) Close() error {
	err := u.readAhead.Close()
	u.release()
	return err
}
