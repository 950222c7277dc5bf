// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"errors"
	"fmt"
	"io"
)

// Read reads the headers of a kernel file of size bytes and makes every check
// that does not need the guest's memory size; Fits makes the rest. It reads
// and allocates no more than the headers, at most 16 KiB, and never beyond
// size. Its errors wrap the sentinels of this package, or the reader's error.
func Read(r io.ReaderAt, size int64) (*Info, error) {
	f := file{r: r, size: uint64(max(size, 0))}
	h, err := f.header()
	if err != nil {
		return nil, err
	}
	headers, err := f.programHeaders(h)
	if err != nil {
		return nil, err
	}
	m := &Info{Entry: h.entry}
	if m.Target, m.ABI, err = f.abi(headers); err != nil {
		return nil, err
	}
	if m.Manifest, err = f.manifest(headers); err != nil {
		return nil, err
	}
	if m.Features, err = f.features(headers); err != nil {
		return nil, err
	}
	if m.Entry < MinLoadAddress {
		return nil, fmt.Errorf("%w: the entry point %#x is below %#x", ErrInvalid, m.Entry, uint64(MinLoadAddress))
	}
	if m.Segments, err = f.segments(headers); err != nil {
		return nil, err
	}
	m.End = m.Segments[len(m.Segments)-1].End
	return m, nil
}

// A file is the kernel file, read by offset and never beyond its size.
type file struct {
	r    io.ReaderAt
	size uint64
}

// bytes reads n bytes at an offset. What they are is for the error, which
// wraps ErrInvalid where the file is too short.
func (f file) bytes(offset, n uint64, what string) ([]byte, error) {
	if !f.holds(offset, n) {
		return nil, fmt.Errorf("%w: %s (%d bytes at offset %d) lies beyond the file's end at %d",
			ErrInvalid, what, n, offset, f.size)
	}
	b := make([]byte, n)
	if got, err := f.r.ReadAt(b, int64(offset)); uint64(got) < n {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read %s at offset %d: %w", what, offset, err)
	}
	return b, nil
}

// holds tells whether n bytes at an offset lie in the file.
func (f file) holds(offset, n uint64) bool {
	return offset <= f.size && n <= f.size-offset
}
