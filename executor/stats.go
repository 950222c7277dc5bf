// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/kernelfile"
)

// stats reads what the task has used. It is an error when the guest has ended.
func (t *task) stats(now time.Time) (Stats, error) {
	s := Stats{Time: now, Dropped: t.console.dropped}
	stat, err := readStat(t.guest.Pid)
	if errors.Is(err, ErrGone) || t.exit != nil {
		return s, errors.New("statistics: the guest has ended")
	}
	if err != nil {
		return s, err
	}
	if s.TotalNS, err = cpuTime(t.guest.Pid); err != nil {
		return s, err
	}
	s.UserNS, s.SystemNS = split(s.TotalNS, stat)
	s.ExecutorNS, _ = cpuTime(0)
	s.CPU, _ = t.group.CPU()
	s.GuestRSS, err = resident(t.guest.Pid)
	if err != nil {
		return s, err
	}
	s.ExecutorPrivate, _ = private()
	s.Memory = t.cgroupMemory()
	if s.Memory.Usage == 0 {
		s.Memory.RSS = s.GuestRSS
	}
	return s, nil
}

// cpuTime is the CPU time that a process has used, or this one for 0, in
// nanoseconds. The clock's number is that of clock_getcpuclockid(3).
func cpuTime(pid int) (uint64, error) {
	const cpuClockSched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuClockSched), &ts); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return uint64(ts.Nano()), nil
}

// split divides the exact total as the kernel's ticks divide.
func split(total uint64, s procStat) (user, system uint64) {
	ticks := s.user + s.sys
	if ticks == 0 {
		return total, 0
	}
	user = uint64(float64(total) * float64(s.user) / float64(ticks))
	return user, total - user
}

// resident is the memory of a process that is in RAM, in bytes.
func resident(pid int) (uint64, error) {
	b, err := kernelfile.Read("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0, err // names the path
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0, fmt.Errorf("resident memory of process %d: %d fields", pid, len(f))
	}
	pages, err := strconv.ParseUint(string(f[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("resident memory of process %d: %w", pid, err)
	}
	return pages * uint64(os.Getpagesize()), nil
}

// private is the memory that only this process maps, in bytes.
func private() (uint64, error) {
	b, err := kernelfile.Read("/proc/self/smaps_rollup")
	if err != nil {
		return 0, err // names the path
	}
	var sum uint64
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) < 2 || !bytes.HasPrefix(f[0], []byte("Private_")) {
			continue
		}
		n, err := strconv.ParseUint(string(f[1]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("private memory: %w", err)
		}
		sum += n << 10
	}
	return sum, nil
}
