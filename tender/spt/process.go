// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
)

// ErrUnsupported is the error of Start on other systems than linux/amd64.
var ErrUnsupported = errors.New("the spt tender runs on linux/amd64 only")

// A Process is a guest that runs. It is a child of the process that started
// it, which waits for it: by Wait, or by wait4 of Pid.
type Process struct {
	Pid int

	mu     sync.Mutex
	reaped bool
}

// Wait waits for the guest's end. It is called once.
func (p *Process) Wait() (tender.Exit, error) {
	// The process keeps its number until it is reaped, so that Signal cannot
	// hit another one.
	err := retry(func() error {
		return unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	})
	if err != nil {
		return tender.Exit{}, fmt.Errorf("waiting for guest %d: %w", p.Pid, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
	return reap(p.Pid)
}

// Signal sends a signal. Its error is os.ErrProcessDone once Wait has returned.
func (p *Process) Signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return os.ErrProcessDone
	}
	if err := syscall.Kill(p.Pid, s); err != nil {
		return fmt.Errorf("sending signal %d to guest %d: %w", s, p.Pid, err)
	}
	return nil
}

func reap(pid int) (tender.Exit, error) {
	var status syscall.WaitStatus
	err := retry(func() error {
		_, err := syscall.Wait4(pid, &status, 0, nil)
		return err
	})
	if err != nil {
		return tender.Exit{}, fmt.Errorf("waiting for guest %d: %w", pid, err)
	}
	return tender.ExitOf(status), nil
}

// retry calls a system call again that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
