// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// outputs are the guest's standard output and its standard error. A guest without
// Plan.SeparateStderr writes both to the first. The order of their lines is not kept.
type outputs struct {
	stdout, stderr console
}

func newOutputs() outputs {
	return outputs{
		stdout: console{name: "stdout", in: -1, out: -1, notices: stderrFD},
		stderr: console{name: "stderr", in: -1, out: stderrFD, notices: stderrFD},
	}
}

// stderrFD is the task's stderr, to which the executor writes too.
const stderrFD = 2

// dropped returns the number of dropped bytes.
func (o *outputs) dropped() uint64 { return o.stdout.dropped + o.stderr.dropped }

func (o *outputs) finish(now time.Time) {
	o.stdout.finish(now)
	o.stderr.finish(now)
}

func (o *outputs) done(now time.Time) bool {
	stdout, stderr := o.stdout.done(now), o.stderr.done(now)
	return stdout && stderr
}

// logLine writes a line of the executor to the task's stderr. The line is lost if nothing
// reads it. It does not continue an incomplete line of the guest.
func (o *outputs) logLine(line string) {
	if o.stderr.midLine {
		line = "\n" + line
		o.stderr.midLine = false
	}
	_, _ = unix.Write(stderrFD, []byte(line+"\n"))
}

// openPipe creates the pipe for an output of the guest, and returns the guest's end.
func (c *console) openPipe() (*os.File, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("create the pipe of the guest's %s: %w", c.name, err)
	}
	c.in = pipe[0]
	if err := unix.SetNonblock(c.in, true); err != nil {
		return nil, fmt.Errorf("make the pipe of the guest's %s non-blocking: %w", c.name, err)
	}
	return os.NewFile(uintptr(pipe[1]), c.name), nil
}
