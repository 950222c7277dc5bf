// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/proto"
)

// errNoExec is what every way to run a command in a task gets.
var errNoExec = errors.New("a unikernel is one program without a shell: no command can be run in it " +
	"(for health checks, use http, tcp or grpc instead of script)")

// ExecTask returns an error: see errNoExec.
func (d *Driver) ExecTask(string, []string, time.Duration) (*drivers.ExecTaskResult, error) {
	return nil, errNoExec
}

const (
	// cannotExecute is the exit status of a shell for a command that it finds
	// and cannot run.
	cannotExecute = 126
	// execGrace is how long the other side may go on sending input.
	execGrace = time.Second
)

var _ drivers.ExecTaskStreamingRawDriver = (*Driver)(nil)

// ExecTaskStreamingRaw writes errNoExec to the command's stderr and ends it with
// the status cannotExecute. Nomad calls this whatever the capabilities say, and its
// clients show an error of the call itself as a broken stream, or not at all.
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
	// Input that finds the stream closed is an error on the other side, and
	// there comes before what was sent.
	ended := make(chan struct{})
	go func() { // ends with the stream, when this returns
		defer close(ended)
		for {
			if _, err := stream.Recv(); err != nil {
				return
			}
		}
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	case <-time.After(execGrace):
	}
	return nil
}
