// SPDX-License-Identifier: MPL-2.0

package e2fsprogs

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/disk/internal/sandbox"
	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

// A Sandbox contains the settings of a tool's confinement that depend on the task. The
// zero value leaves the tool in the cgroup of this process.
type Sandbox struct {
	// Cgroup contains the task's cgroups, which must exist and have their limits.
	Cgroup cgroup.Spec
}

const (
	// baseMemory is the address space of a tool in bytes for an image of any size. The
	// programs and their libraries take 20 MiB, and the stacks of three threads 24 MiB.
	baseMemory = 128 << 20
	// imagePerMemory is the number of bytes of an image for which a tool gets one more
	// byte. The largest structures are trees of the blocks in use, which take 1/60 of the
	// image if every other block is in use, and 1/1000 for usual images.
	imagePerMemory = 32
	// baseTime is the processor time of a tool for an image of any size.
	baseTime = 2 * time.Second
	// imagePerSecond is the number of bytes of an image for which a tool gets one more
	// second. Tools write and check several hundred MiB in a second.
	imagePerSecond = 64 << 20
	// timePerFile is the processor time for one of Cmd.FileCount. A file takes some 50 µs.
	timePerFile = time.Millisecond
	// timePerPair is the processor time for a pair of files. A search for a name reads the
	// whole directory, which takes some 0.1 µs for each name in it. A file takes up to six
	// searches.
	timePerPair = 5 * time.Microsecond
)

// limitsFor returns the limits of a tool that works on an image of this size in bytes and
// creates a number of files. They are many times what tools need, and small enough that a
// malicious image cannot keep a processor busy.
func limitsFor(size, fileCount int64) sandbox.Limits {
	return sandbox.Limits{
		AddressSpace: uint64(baseMemory + size/imagePerMemory),
		FileSize:     uint64(size),
		CPU:          baseTime + time.Duration(size/imagePerSecond)*time.Second + timeFor(fileCount),
	}
}

// timeFor returns the processor time to create files, which may all be in one directory.
func timeFor(files int64) time.Duration {
	n := time.Duration(files)
	return n*timePerFile + n*n/2*timePerPair
}

// ErrDamaged means that an image is not a valid ext4 file system.
var ErrDamaged = errors.New("the ext4 image is damaged")

// findLimitError returns an error that wraps ErrDamaged if a tool failed at one of its
// limits, and otherwise nil.
func findLimitError(err error, output string) error {
	if errors.Is(err, sandbox.ErrLimit) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	for _, text := range []string{"Memory allocation failed", "Cannot allocate memory"} {
		if strings.Contains(output, text) {
			return fmt.Errorf("%w, or needs more memory than usual images of its size: %w", ErrDamaged, err)
		}
	}
	return nil
}
