// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
)

// errNoExec is what every way to run a command in a task gets.
var errNoExec = errors.New("a unikernel is one program without a shell: no command can be run in it " +
	"(for health checks, use http, tcp or grpc instead of script)")

// ExecTask returns an error: see errNoExec.
func (d *Driver) ExecTask(string, []string, time.Duration) (*drivers.ExecTaskResult, error) {
	return nil, errNoExec
}

// ExecTaskStreamingRaw returns an error: see errNoExec. Nomad calls it whatever
// the capabilities say, and without it would show only that streaming failed.
func (d *Driver) ExecTaskStreamingRaw(
	context.Context, string, []string, bool, drivers.ExecTaskStream,
) error {
	return errNoExec
}

var _ drivers.ExecTaskStreamingRawDriver = (*Driver)(nil)
