// SPDX-License-Identifier: MPL-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

// Limits of a program, in addition to those of its cgroup.
type Limits struct {
	AddressSpace uint64        // bytes
	FileSize     uint64        // bytes that any file may have after a write
	CPU          time.Duration // rounded up to seconds
}

const (
	// maxThreads limits the threads of a program. libext2fs starts one for each processor
	// to read bitmaps. The filter hides their number, and the C library then
	// assumes two.
	maxThreads = 4
	// spareFiles is the number of files that a program may open in addition to those
	// that it gets.
	spareFiles = 32
)

// rlimits returns the resource limits of a program that gets a number of files.
func (l Limits) rlimits(files uint64) []rlimit {
	cpu := uint64((l.CPU + time.Second - 1) / time.Second)
	return []rlimit{
		{"address space", unix.RLIMIT_AS, l.AddressSpace, l.AddressSpace},
		// SIGXCPU at the soft limit ends the program, and explains its end.
		{"processor time", unix.RLIMIT_CPU, cpu, cpu + 1},
		{"file size", unix.RLIMIT_FSIZE, l.FileSize, l.FileSize},
		{"core size", unix.RLIMIT_CORE, 0, 0},
		{"open files", unix.RLIMIT_NOFILE, files + spareFiles, files + spareFiles},
		{"locked memory", unix.RLIMIT_MEMLOCK, 0, 0},
		{"message queues", unix.RLIMIT_MSGQUEUE, 0, 0},
	}
}

// An rlimit is a resource limit of setrlimit(2).
type rlimit struct {
	name       string
	resource   uint64
	soft, hard uint64
}

// explain adds the limit that a program exceeded to the error of its end.
func explain(err error, l Limits, group cgroup.Group) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return err
	}
	switch status.Signal() {
	case unix.SIGXCPU:
		return fmt.Errorf("%w: %w: it took more than %v of processor time, the limit for an image of this size", err, ErrLimit, l.CPU)
	case unix.SIGXFSZ:
		return fmt.Errorf("%w: %w: it wrote beyond the end of the image, at %d bytes", err, ErrLimit, l.FileSize)
	case unix.SIGKILL:
		if m, memoryErr := group.Memory(); memoryErr == nil && m.OOMKills > 0 {
			return fmt.Errorf("%w: %w: the memory limit of the task, %d MiB, is too low to process the image: "+
				"raise memory in the task's resources", err, ErrMemory, m.Limit>>20)
		}
	}
	return err
}
