// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"errors"
	"io"
)

// Read reads the headers of a kernel file of size bytes and makes every check
// that does not need the guest's memory size; Fits makes the rest. Its errors
// wrap the sentinels of this package, or the reader's error.
func Read(r io.ReaderAt, size int64) (*Image, error) {
	return nil, errors.ErrUnsupported
}

// Fits tells whether the segments and the entry point lie in a guest memory of
// this many bytes. The error wraps ErrMemory and tells how much it takes.
func (m *Image) Fits(memory uint64) error {
	return errors.ErrUnsupported
}
