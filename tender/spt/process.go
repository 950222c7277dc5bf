// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
)

// ErrUnsupported is the error of Start on systems other than linux/amd64.
var ErrUnsupported = errors.New("the spt tender runs on linux/amd64 only")

// A Process is a running guest. It is a child of the process that started it, which
// must reap it with Wait, or with wait4(2) on Pid.
type Process struct {
	Pid int

	mu     sync.Mutex
	reaped bool
}

// Wait waits until the guest ends. Call it once.
func (p *Process) Wait() (tender.Exit, error) {
	// WNOWAIT keeps the PID in use until reap, so that Signal cannot signal an
	// unrelated process.
	_, err := eintr.Retry(func() (int, error) {
		return 0, unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	})
	if err != nil {
		return tender.Exit{}, fmt.Errorf("wait for guest %d: %w", p.Pid, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
	return reap(p.Pid)
}

// Signal sends a signal. It returns os.ErrProcessDone after Wait has returned.
func (p *Process) Signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return os.ErrProcessDone
	}
	if err := syscall.Kill(p.Pid, s); err != nil {
		return fmt.Errorf("send signal %d to guest %d: %w", s, p.Pid, err)
	}
	return nil
}

func reap(pid int) (tender.Exit, error) {
	var status syscall.WaitStatus
	_, err := eintr.Retry(func() (int, error) { return syscall.Wait4(pid, &status, 0, nil) })
	if err != nil {
		return tender.Exit{}, fmt.Errorf("wait for guest %d: %w", pid, err)
	}
	return tender.ExitOf(status), nil
}
