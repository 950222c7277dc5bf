// SPDX-License-Identifier: MPL-2.0

package tender

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// FD is the number of an open file. Unlike os.File.Fd it leaves the file's
// blocking mode alone, which is that of every process that shares the file.
// The caller keeps f reachable while it uses the number.
func FD(f *os.File) (int, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("%s: %w", f.Name(), err)
	}
	number := -1
	if err := conn.Control(func(fd uintptr) { number = int(fd) }); err != nil {
		return -1, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return number, nil
}

// Flags are the file's status flags (F_GETFL).
func Flags(f *os.File) (int, error) {
	fd, err := FD(f)
	if err != nil {
		return 0, err
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return 0, fmt.Errorf("reading the flags of %s: %w", f.Name(), err)
	}
	return flags, nil
}
