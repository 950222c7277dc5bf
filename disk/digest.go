// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
)

// digestChunk is the unit in bytes that Digest reads.
const digestChunk = 64 << 10

// Digest returns a digest of a file's content, in hexadecimal. Unlike a plain SHA-256, it
// covers only the chunks of digestChunk bytes that are not zero, with their positions. It
// therefore skips the holes of an image. Zeros that are not holes do not change it.
func Digest(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	chunk, zeros := make([]byte, digestChunk), make([]byte, digestChunk)
	var header [16]byte // position and size
	next := int64(0)    // of the first chunk that has not been read
	for data, err := range dataRanges(f, byteRange{0, info.Size()}) {
		if err != nil {
			return "", fmt.Errorf("read %s: %w", path, err)
		}
		for at := max(next, data.from/digestChunk*digestChunk); at < data.to; at += digestChunk {
			if ctx.Err() != nil {
				return "", context.Cause(ctx)
			}
			part := chunk[:min(digestChunk, info.Size()-at)]
			if _, err := io.ReadFull(io.NewSectionReader(f, at, digestChunk), part); err != nil {
				return "", fmt.Errorf("read %s: %w", path, err)
			}
			next = at + digestChunk
			if bytes.Equal(part, zeros[:len(part)]) {
				continue
			}
			binary.LittleEndian.PutUint64(header[:8], uint64(at))
			binary.LittleEndian.PutUint64(header[8:], uint64(len(part)))
			h.Write(header[:])
			h.Write(part)
		}
	}
	binary.LittleEndian.PutUint64(header[:8], uint64(info.Size()))
	h.Write(header[:8])
	return hex.EncodeToString(h.Sum(nil)), nil
}
