// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// byteRange is a range of a file, in bytes.
type byteRange struct{ from, to int64 }

// dataRanges returns the parts of a range that are not holes, or all of it where the file
// system does not report holes. It moves the file's offset.
func dataRanges(f *os.File, within byteRange) iter.Seq2[byteRange, error] {
	return func(yield func(byteRange, error) bool) {
		for at := within.from; at < within.to; {
			from, err := f.Seek(at, unix.SEEK_DATA)
			switch {
			case errors.Is(err, unix.ENXIO):
				return // the rest is a hole
			case errors.Is(err, unix.EINVAL):
				yield(byteRange{at, within.to}, nil)
				return
			case err != nil:
				yield(byteRange{}, err)
				return
			}
			to, err := f.Seek(from, unix.SEEK_HOLE)
			if err != nil {
				yield(byteRange{}, err)
				return
			}
			if from >= within.to || !yield(byteRange{from, min(to, within.to)}, nil) {
				return
			}
			at = to
		}
	}
}

// isZero reports whether all bytes of p are zero.
func isZero(p []byte) bool {
	// Comparing p with itself, shifted by a byte, is faster than a loop over its bytes.
	return len(p) == 0 || p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1])
}

// nonzeroRuns returns the runs of blocks that contain data other than zeros.
func nonzeroRuns(p []byte) iter.Seq[byteRange] {
	return func(yield func(byteRange) bool) {
		run := byteRange{}
		for at := int64(0); at < int64(len(p)); at += BlockSize {
			end := min(at+BlockSize, int64(len(p)))
			switch {
			case !isZero(p[at:end]) && run.to == at && run.to > run.from:
				run.to = end
			case !isZero(p[at:end]):
				if run.to > run.from && !yield(run) {
					return
				}
				run = byteRange{at, end}
			}
		}
		if run.to > run.from {
			yield(run)
		}
	}
}

// copyData replaces the content of dst by that of src, without its holes. errChanged: src
// has less content, or more of it is data.
func copyData(ctx context.Context, dst, src *os.File, d *fileData) error {
	whole := byteRange{d.offset, d.offset + d.size}
	if !d.isSparse() {
		// Overwriting what dst contains is faster than truncating it first.
		return errors.Join(sendBytes(ctx, dst, src, whole, 0), dst.Truncate(d.size))
	}
	if err := errors.Join(dst.Truncate(0), dst.Truncate(d.size)); err != nil {
		return err
	}
	blocks := d.blocks
	for r, err := range dataRanges(src, whole) {
		if err != nil {
			return err
		}
		if blocks -= divideUp(r.to, BlockSize) - r.from/BlockSize; blocks < 0 {
			return errChanged
		}
		if err := sendBytes(ctx, dst, src, r, r.from-d.offset); err != nil {
			return err
		}
	}
	return nil
}

// sendBytes copies a range of src to dst, where it begins at an offset.
func sendBytes(ctx context.Context, dst, src *os.File, r byteRange, at int64) error {
	if _, err := dst.Seek(at, io.SeekStart); err != nil {
		return err
	}
	for r.from < r.to {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := unix.Sendfile(int(dst.Fd()), int(src.Fd()), &r.from, int(min(r.to-r.from, copyChunk)))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("sendfile: %w", err)
		case n == 0:
			return errChanged
		}
	}
	return nil
}
