// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/proto"
)

// errNoExec is the error of each method that would run a command in a task.
var errNoExec = errors.New("cannot run a command in a unikernel: it is a single program without a shell " +
	"(for health checks, use http, tcp or grpc instead of script)")

// ExecTask runs nothing. It returns errNoExec as the output of a command that ended with the
// status cannotExecute: Nomad shows the output of a script check, but not an error.
func (d *Driver) ExecTask(string, []string, time.Duration) (*drivers.ExecTaskResult, error) {
	return &drivers.ExecTaskResult{
		Stdout: []byte(errNoExec.Error() + "\n"), ExitResult: &drivers.ExitResult{ExitCode: cannotExecute},
	}, nil
}

const (
	// cannotExecute is a shell's exit status for a command that it cannot run.
	cannotExecute = 126
	// execDrainTimeout limits how long the client may go on sending input.
	execDrainTimeout = time.Second
)

var _ drivers.ExecTaskStreamingRawDriver = (*Driver)(nil)

// ExecTaskStreamingRaw writes errNoExec to the command's stderr and ends the
// command with the status cannotExecute. Nomad calls this method regardless of
// the capabilities. Its clients show an error of the method itself as a broken
// stream, or not at all.
func (d *Driver) ExecTaskStreamingRaw(
	ctx context.Context, _ string, _ []string, _ bool, stream drivers.ExecTaskStream,
) error {
	err := stream.Send(&drivers.ExecTaskStreamingResponseMsg{
		Stderr: &proto.ExecTaskStreamingIOOperation{Data: []byte(errNoExec.Error() + "\r\n")},
	})
	if err == nil {
		err = stream.Send(drivers.NewExecStreamingResponseExit(cannotExecute))
	}
	if err != nil {
		return err
	}
	// If the stream closes while the client still sends input, the client reports
	// that instead of our message. So read until the client stops.
	drained := make(chan struct{})
	go func() { // ends with the stream, when this method returns
		defer close(drained)
		for {
			if _, err := stream.Recv(); err != nil {
				return
			}
		}
	}()
	select {
	case <-drained:
	case <-ctx.Done():
	case <-time.After(execDrainTimeout):
	}
	return nil
}
