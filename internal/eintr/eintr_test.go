// SPDX-License-Identifier: MPL-2.0

package eintr

import (
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

func TestRetry_RepeatsInterruptedCalls(t *testing.T) {
	results := []error{unix.EINTR, unix.EINTR, nil}
	calls := 0
	n, err := Retry(func() (int, error) {
		calls++
		return calls, results[calls-1]
	})
	must.NoError(t, err)
	must.Eq(t, 3, n)
}

func TestRetry_ReturnsOtherErrors(t *testing.T) {
	_, err := Retry(func() (int, error) { return 0, unix.EIO })
	must.ErrorIs(t, err, unix.EIO)
}
