// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"errors"
	"fmt"
	"io"
)

// Read reads the headers of a kernel file of size bytes. It makes every check
// that does not need the size of the guest's memory; Info.Fits makes the others.
// It reads at most 16 KiB, and never beyond size. Its errors wrap the sentinel
// errors of this package, or the reader's error.
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
	u := &Info{Entry: h.Entry}
	if u.Target, u.ABI, err = f.abi(headers); err != nil {
		return nil, err
	}
	if u.Manifest, err = f.manifest(headers); err != nil {
		return nil, err
	}
	if u.Features, u.Preempt, err = f.features(headers); err != nil {
		return nil, err
	}
	if u.Entry < MinLoadAddress {
		return nil, fmt.Errorf("%w: the entry point %#x is below %#x", ErrInvalid, u.Entry, uint64(MinLoadAddress))
	}
	if u.Segments, err = f.segments(headers); err != nil {
		return nil, err
	}
	if u.Preempt != nil {
		if err := u.Preempt.check(u.Segments); err != nil {
			return nil, err
		}
	}
	u.End = u.Segments[len(u.Segments)-1].End
	return u, nil
}

// A file is a kernel file. Its methods never read beyond its size.
type file struct {
	r    io.ReaderAt
	size uint64
}

// bytes reads n bytes at an offset. Its error uses the name, and wraps ErrInvalid
// if the file is too short.
func (f file) bytes(offset, n uint64, name string) ([]byte, error) {
	if !f.holds(offset, n) {
		return nil, fmt.Errorf("%w: %s (%d bytes at offset %d) extends beyond the file's end at %d",
			ErrInvalid, name, n, offset, f.size)
	}
	b := make([]byte, n)
	if got, err := f.r.ReadAt(b, int64(offset)); uint64(got) < n {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read %s at offset %d: %w", name, offset, err)
	}
	return b, nil
}

// holds reports whether the file contains n bytes at an offset.
func (f file) holds(offset, n uint64) bool {
	return offset <= f.size && n <= f.size-offset
}
