// SPDX-License-Identifier: MPL-2.0

package testenv

import (
	"errors"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// Opens counts how often a file, such as a device node, is opened by any process. The
// returned function returns the count since the call of Opens. O_PATH is not an open.
func Opens(t testing.TB, path string) func() int {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	must.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	_, err = unix.InotifyAddWatch(fd, path, unix.IN_OPEN)
	must.NoError(t, err)
	count := 0
	return func() int {
		t.Helper()
		buf := make([]byte, unix.SizeofInotifyEvent+unix.NAME_MAX+1)
		for {
			n, err := unix.Read(fd, buf)
			if errors.Is(err, unix.EAGAIN) {
				return count
			}
			must.NoError(t, err)
			// An event of a watched file has no name.
			count += n / unix.SizeofInotifyEvent
		}
	}
}
