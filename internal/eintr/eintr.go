// SPDX-License-Identifier: MPL-2.0

// Package eintr repeats system calls that a signal interrupted. Package os
// does so itself; callers of golang.org/x/sys/unix have to.
package eintr

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Retry calls call until it returns another error than EINTR.
func Retry[T any](call func() (T, error)) (T, error) {
	for {
		result, err := call()
		if !errors.Is(err, unix.EINTR) {
			return result, err
		}
	}
}
