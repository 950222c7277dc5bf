// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
)

// ReadStats reads the resource usage of a task from the kernel and from the state
// directory, without waking the executor. It returns ErrGone if the guest has
// ended.
func ReadStats(dir string, id Identity, group cgroup.Group) (Stats, error) {
	stat, err := readStat(id.Guest.Pid)
	if err == nil && stat.startTime != id.Guest.StartTime {
		err = ErrGone
	}
	if err != nil {
		return Stats{}, err
	}
	s := Stats{Time: time.Now()}
	if s.TotalNS, err = cpuTime(id.Guest.Pid); err != nil {
		return Stats{}, err
	}
	s.UserNS, s.SystemNS = splitCPUTime(s.TotalNS, stat)
	if s.GuestRSS, err = residentMemory(id.Guest.Pid); err != nil {
		return Stats{}, err
	}
	// The executor may end at any moment after the guest.
	s.ExecutorNS, _ = cpuTime(id.Executor.Pid)
	if id.Files.Pid != 0 {
		s.ExecutorNS += filesCPUTime(id.Files)
		if s.FilesEnded, err = readFilesEnded(dir); err != nil {
			return Stats{}, err
		}
	}
	if s.Dropped, err = readDropped(dir); err != nil {
		return Stats{}, err
	}
	if s.CPU, err = group.CPU(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return Stats{}, err
	}
	s.Memory, err = group.Memory()
	if errors.Is(err, errors.ErrUnsupported) {
		s.Memory, err = cgroup.Memory{RSS: s.GuestRSS}, nil
	}
	return s, err
}

// filesCPUTime returns the CPU time of the file server, or 0 if it has ended.
func filesCPUTime(server Process) uint64 {
	stat, err := readStat(server.Pid)
	if err != nil || stat.startTime != server.StartTime {
		return 0
	}
	ns, err := cpuTime(server.Pid)
	if err != nil {
		return 0
	}
	return ns
}

// readFilesEnded returns State.FilesEnded of a task with a file server.
func readFilesEnded(dir string) (string, error) {
	b, err := readFile(filepath.Join(dir, FilesFile))
	if errors.Is(err, os.ErrNotExist) { // the directory is being removed
		return "", nil
	}
	return strings.ToValidUTF8(string(b), "?"), err // names the path
}

func readDropped(dir string) (uint64, error) {
	b, err := readFile(filepath.Join(dir, DroppedFile))
	if errors.Is(err, os.ErrNotExist) { // an executor of an earlier build has dropped nothing
		return 0, nil
	}
	if err != nil {
		return 0, err // names the path
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", filepath.Join(dir, DroppedFile), err)
	}
	return n, nil
}

// cpuTime returns the CPU time of a process in nanoseconds. The clock ID is
// encoded as in clock_getcpuclockid(3).
func cpuTime(pid int) (uint64, error) {
	const cpuClockSched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuClockSched), &ts); err != nil {
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESRCH) {
			err = ErrGone
		}
		return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	return uint64(ts.Nano()), nil
}

// splitCPUTime divides the exact total by the ratio of the kernel's ticks.
func splitCPUTime(total uint64, s procStat) (user, system uint64) {
	ticks := s.user + s.sys
	if ticks == 0 {
		return total, 0
	}
	user = uint64(float64(total) * float64(s.user) / float64(ticks))
	return user, total - user
}

// residentMemory returns the resident set size of a process in bytes.
func residentMemory(pid int) (uint64, error) {
	b, err := readProc(pid, "statm")
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0, fmt.Errorf("read the resident memory of process %d: statm has %d fields instead of at least 2", pid, len(f))
	}
	pages, err := strconv.ParseUint(string(f[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the resident memory of process %d: %w", pid, err)
	}
	return pages * uint64(os.Getpagesize()), nil
}
