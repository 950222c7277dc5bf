// SPDX-License-Identifier: MPL-2.0

// Package daemon runs long-lived programs for tests and the demonstration: agents and
// registries.
package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// stopTimeout limits how long a program may take to stop.
const stopTimeout = 90 * time.Second

// A Process is a running program, with its output in a file.
type Process struct {
	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{} // closed at its end
}

// Start runs a program with its output appended to logFile.
func Start(logFile string, env []string, program string, args ...string) (*Process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.Command(program, args...), log: log, ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// ^C on the terminal interrupts the test, which then stops the program.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("start %s: %w", filepath.Base(program), err)
	}
	go func() {
		_ = p.cmd.Wait() // Alive reads the result from ProcessState
		_ = log.Close()
		close(p.ended)
	}()
	return p, nil
}

// Pid returns the process ID.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Alive returns nil while the process runs.
func (p *Process) Alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s has exited unexpectedly (%v), see %s", filepath.Base(p.cmd.Path), p.cmd.ProcessState, p.log.Name())
	default:
		return nil
	}
}

// Stop ends the process as an operator does. If it takes too long, Stop kills the
// process and returns an error.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // no effect after its end
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTimeout):
		p.Kill()
		return fmt.Errorf("%s did not end within %s, see %s", filepath.Base(p.cmd.Path), stopTimeout, p.log.Name())
	}
}

// Kill ends the process immediately, as a crash does.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}
