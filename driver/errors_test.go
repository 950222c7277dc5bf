// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/executor"
)

func TestStartError_MarksErrorsWorthARetry(t *testing.T) {
	mistake := errors.New("no such kernel")
	for _, c := range []struct {
		name  string
		err   error
		retry bool
	}{
		{"a mistake of the job", mistake, false},
		{"the host's", retryable(mistake), true},
		{"the host's, wrapped", fmt.Errorf("step: %w", retryable(mistake)), true},
		{"disk full", fmt.Errorf("write: %w", syscall.ENOSPC), true},
		{"the disk's reserve", fmt.Errorf("rootfs: %w", disk.ErrReserve), true},
		{"no permission", fmt.Errorf("open: %w", syscall.EACCES), false},
		{"a bad plan", retryable(fmt.Errorf("start: %w", executor.ErrPlan)), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := startError("kernel", c.err)
			must.Eq(t, c.retry, structs.IsRecoverable(err))
			must.ErrorContains(t, err, "kernel: ")
			must.ErrorIs(t, err, c.err)
		})
	}
	must.NoError(t, retryable(nil))
}
