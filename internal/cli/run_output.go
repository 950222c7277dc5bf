// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// outputFeatures are those of a guest whose standard error is separate.
const outputFeatures = unikernel.FeatureConfig | unikernel.FeatureOutput

func (o *runOptions) checkArgv0(info *unikernel.Info) error {
	if o.argv0 != "" && !info.Features.Has(outputFeatures) {
		return fmt.Errorf("--argv0: the guest does not support the feature %s: link it again with the current lkl-cc",
			unikernel.FeatureOutput)
	}
	return nil
}

// setOutput tells the guest about its output and its program's name.
func (o *runOptions) setOutput(line string, info *unikernel.Info, e *Env) (string, error) {
	if !info.Features.Has(outputFeatures) {
		return line, nil
	}
	output := lkl.Output{Stderr: true, StdoutTTY: isTerminal(e.Stdout), StderrTTY: isTerminal(e.Stderr)}
	edited, err := lkl.SetOutput(line, output, cmp.Or(o.argv0, lkl.ProgramName(o.kernel)))
	if errors.Is(err, lkl.ErrConfig) {
		return line, nil // the guest reports the mistake
	}
	return edited, err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// openOutputs gives the guest its standard output, and its standard error if it knows that.
// It returns a function that waits until all of the output is copied.
func (o *runOptions) openOutputs(g *tender.Guest, e *Env) (finish func() error, err error) {
	var finishStdout, finishStderr func() error
	if g.Console, finishStdout, err = openOutput(e.Stdout); err != nil {
		return nil, err
	}
	if !g.Info.Features.Has(outputFeatures) {
		return finishStdout, nil
	}
	if g.Stderr, finishStderr, err = openOutput(e.Stderr); err != nil {
		return nil, errors.Join(err, finishStdout())
	}
	return func() error { return errors.Join(finishStdout(), finishStderr()) }, nil
}

// openOutput returns a file for an output of the guest, and a function that waits until
// all of it is copied to w.
func openOutput(w io.Writer) (*os.File, func() error, error) {
	if f, ok := w.(*os.File); ok {
		return f, func() error { return nil }, nil
	}
	from, to, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("create a pipe for the guest's output: %w", err)
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, from)
		copied <- errors.Join(err, from.Close())
	}()
	return to, func() error { return errors.Join(to.Close(), <-copied) }, nil
}
