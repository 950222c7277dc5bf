// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// stopTimeout limits how long an agent may take to stop.
const stopTimeout = 90 * time.Second

// A process is a running agent, with its output in a file.
type process struct {
	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{} // closed at its end
}

// start runs a program with its output appended to logFile.
func start(logFile string, env []string, program string, args ...string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(program, args...), log: log, ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// ^C on the terminal interrupts the test, which then stops the agent.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("start %s: %w", filepath.Base(program), err)
	}
	go func() {
		_ = p.cmd.Wait() // alive reads the result from ProcessState
		_ = log.Close()
		close(p.ended)
	}()
	return p, nil
}

// alive returns nil while the process runs.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s has exited unexpectedly (%v), see %s", filepath.Base(p.cmd.Path), p.cmd.ProcessState, p.log.Name())
	default:
		return nil
	}
}

// stop ends the process as an operator does. If it takes too long, stop kills the
// process and returns an error.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // no effect after its end
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTimeout):
		p.kill()
		return fmt.Errorf("%s did not end within %s, see %s", filepath.Base(p.cmd.Path), stopTimeout, p.log.Name())
	}
}

// kill ends the process immediately, as a crash does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}
