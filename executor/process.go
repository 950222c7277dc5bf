// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/executor/kernelfile"
)

// ErrGone reports that a process has ended. Its PID may belong to another
// process by now.
var ErrGone = errors.New("process is gone")

// A Process identifies a process among all that ever have the same PID.
type Process struct {
	Pid       int    `json:"Pid"`
	StartTime uint64 `json:"StartTime"` // clock ticks from boot to its start: field 22 of /proc/PID/stat
	BootID    string `json:"BootID"`    // /proc/sys/kernel/random/boot_id
}

// FindProcess identifies the process that has the PID now. It returns ErrGone if
// the PID is free or belongs to a zombie.
func FindProcess(pid int) (Process, error) {
	boot, err := bootID()
	if err != nil {
		return Process{}, err
	}
	stat, err := readStat(pid)
	if err != nil {
		return Process{}, err
	}
	return Process{Pid: pid, StartTime: stat.startTime, BootID: boot}, nil
}

// Pidfd returns a pidfd of exactly this process, or ErrGone.
func (p Process) Pidfd() (int, error) {
	if p.Pid <= 0 {
		return -1, ErrGone
	}
	fd, err := unix.PidfdOpen(p.Pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return -1, ErrGone
	}
	if err != nil {
		return -1, fmt.Errorf("pidfd_open process %d: %w", p.Pid, err)
	}
	// p is older than the descriptor. If p still has the PID now, it had the PID
	// when the descriptor was opened, so the descriptor refers to p.
	now, err := FindProcess(p.Pid)
	if err == nil && now != p {
		err = fmt.Errorf("process %d: %w", p.Pid, ErrGone)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Alive reports whether the process still runs.
func (p Process) Alive() bool {
	fd, err := p.Pidfd()
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// Signal sends a signal to exactly this process, or returns ErrGone.
func (p Process) Signal(sig syscall.Signal) error {
	fd, err := p.Pidfd()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return signalFD(fd, p.Pid, sig)
}

func signalFD(pidfd, pid int, sig syscall.Signal) error {
	err := unix.PidfdSendSignal(pidfd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return ErrGone
	}
	if err != nil {
		return fmt.Errorf("send signal %d to process %d: %w", int(sig), pid, err)
	}
	return nil
}

func bootID() (string, error) {
	b, err := kernelfile.Read("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot ID: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

type procStat struct {
	startTime uint64
	user, sys uint64 // ticks
}

// readStat reads /proc/PID/stat; see proc_pid_stat(5) for the fields.
func readStat(pid int) (procStat, error) {
	b, err := readProc(pid, "stat")
	if err != nil {
		return procStat{}, err
	}
	// The second field is the program's name in parentheses. The name itself may
	// contain blanks and parentheses.
	line := string(b)
	f := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(f) < 20 {
		return procStat{}, fmt.Errorf("read the status of process %d: stat has %d fields after the name instead of at least 20", pid, len(f))
	}
	if f[0] == "Z" || f[0] == "X" {
		return procStat{}, ErrGone
	}
	var s procStat
	for _, n := range []struct {
		to    *uint64
		field string
	}{{&s.user, f[11]}, {&s.sys, f[12]}, {&s.startTime, f[19]}} {
		if *n.to, err = strconv.ParseUint(n.field, 10, 64); err != nil {
			return procStat{}, fmt.Errorf("read the status of process %d: %w", pid, err)
		}
	}
	return s, nil
}

// readProc reads /proc/PID/FILE. It returns ErrGone if there is no such process.
func readProc(pid int, file string) ([]byte, error) {
	b, err := kernelfile.Read("/proc/" + strconv.Itoa(pid) + "/" + file)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	return b, err // names the path
}
