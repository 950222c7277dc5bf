// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"errors"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// extent is a range of a file, in bytes.
type extent struct{ from, to int64 }

// dataOf goes through the ranges of a file that are no holes; all of it where the
// file system cannot tell. It moves the file's offset.
func dataOf(f *os.File, size int64) iter.Seq2[extent, error] {
	return func(yield func(extent, error) bool) {
		for at := int64(0); at < size; {
			from, err := f.Seek(at, unix.SEEK_DATA)
			switch {
			case errors.Is(err, unix.ENXIO):
				return // only a hole is left
			case errors.Is(err, unix.EINVAL):
				yield(extent{at, size}, nil)
				return
			case err != nil:
				yield(extent{}, err)
				return
			}
			to, err := f.Seek(from, unix.SEEK_HOLE)
			if err != nil {
				yield(extent{}, err)
				return
			}
			if from >= size || !yield(extent{from, min(to, size)}, nil) {
				return
			}
			at = to
		}
	}
}

// isZero is for the parts of a file that a hole can stand for.
func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// sparseWriter writes a file from its beginning, leaving holes for zeros.
type sparseWriter struct {
	f     *os.File
	limit int64 // blocks of data that may be written
	at    int64

	blocks, pieces int64 // written, and in how many pieces
	last           int64 // the block after the one written last
}

func (w *sparseWriter) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		part := p[written:min(int64(len(p)), int64(written)+BlockSize-w.at%BlockSize)]
		if !isZero(part) {
			if err := w.data(part); err != nil {
				return written, err
			}
		}
		written, w.at = written+len(part), w.at+int64(len(part))
	}
	return written, nil
}

// data writes what lies within one block.
func (w *sparseWriter) data(part []byte) error {
	if block := w.at/BlockSize + 1; block != w.last {
		if w.blocks++; w.blocks > w.limit {
			return ErrNoSpace
		}
		if block != w.last+1 {
			w.pieces++
		}
		w.last = block
	}
	_, err := w.f.WriteAt(part, w.at)
	return err
}

// finish gives the file its length, which a hole at its end has not.
func (w *sparseWriter) finish() error { return w.f.Truncate(w.at) }
