// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"errors"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// byteRange is a range of a file, in bytes.
type byteRange struct{ from, to int64 }

// dataRanges returns the ranges of a file that are not holes, or one range for the whole
// file where the file system does not report holes. It moves the file's offset.
func dataRanges(f *os.File, size int64) iter.Seq2[byteRange, error] {
	return func(yield func(byteRange, error) bool) {
		for at := int64(0); at < size; {
			from, err := f.Seek(at, unix.SEEK_DATA)
			switch {
			case errors.Is(err, unix.ENXIO):
				return // the rest is a hole
			case errors.Is(err, unix.EINVAL):
				yield(byteRange{at, size}, nil)
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
			if from >= size || !yield(byteRange{from, min(to, size)}, nil) {
				return
			}
			at = to
		}
	}
}

// isZero reports whether all bytes of p are zero.
func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// sparseWriter writes a file from its beginning and leaves holes for zeros.
type sparseWriter struct {
	f     *os.File
	limit int64 // maximum number of blocks with data
	at    int64

	blocks, extents int64 // with data, so far
	nextBlock       int64 // the block behind the last one with data
}

func (w *sparseWriter) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		part := p[written:min(int64(len(p)), int64(written)+BlockSize-w.at%BlockSize)]
		if !isZero(part) {
			if err := w.writeInBlock(part); err != nil {
				return written, err
			}
		}
		written, w.at = written+len(part), w.at+int64(len(part))
	}
	return written, nil
}

// writeInBlock writes data that lies within one block.
func (w *sparseWriter) writeInBlock(part []byte) error {
	if block := w.at / BlockSize; block+1 != w.nextBlock { // the first data in this block
		if w.blocks++; w.blocks > w.limit {
			return ErrNoSpace
		}
		if block != w.nextBlock {
			w.extents++
		}
		w.nextBlock = block + 1
	}
	_, err := w.f.WriteAt(part, w.at)
	return err
}

// finish sets the length of a file, which may end in a hole.
func (w *sparseWriter) finish() error { return w.f.Truncate(w.at) }
