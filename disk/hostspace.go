// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

var (
	// ErrTooLarge means that an image, or the content for one, exceeds BuildOptions.Max.
	ErrTooLarge = errors.New("the root disk exceeds the limit of this host")
	// ErrReserve means that the file system of the host would have too little free space.
	ErrReserve = errors.New("the host's file system must keep a reserve of free space")
)

// The reserve of a file system is 1/reserveShare of its size, but at most maxReserve.
const (
	reserveShare = 20
	maxReserve   = 1 << 30 // bytes
)

// CheckFreeSpace returns ErrReserve if writing need bytes to a directory would use the
// reserve of its file system: 5 % of its size, at most 1 GiB.
func CheckFreeSpace(dir string, need int64) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return checkFreeSpace(f, need)
}

// checkFreeSpace is CheckFreeSpace for an open file.
func checkFreeSpace(f *os.File, need int64) error {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &stat); err != nil {
		return &os.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	if stat.Blocks == 0 {
		return nil // the file system has no limit: a file in memory
	}
	free, size := int64(stat.Bavail)*stat.Bsize, int64(stat.Blocks)*stat.Bsize
	keep := min(size/reserveShare, maxReserve)
	if free-need < keep {
		return fmt.Errorf("%w: %d MiB are free, the reserve is %d MiB, and %d MiB are needed",
			ErrReserve, free>>20, keep>>20, divideUp(need, 1<<20))
	}
	return nil
}
