// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
)

// errConfig means that a configuration contains mistakes.
var errConfig = errors.New("config")

// A taskError is an error of StartTask for Nomad's plugin server, which asks it
// whether a restart of the task may succeed. (The server does not unwrap errors,
// so a taskError must be the outermost one.)
type taskError struct {
	err   error
	retry bool
}

func (e *taskError) Error() string       { return e.err.Error() }
func (e *taskError) Unwrap() error       { return e.err }
func (e *taskError) IsRecoverable() bool { return e.retry }

// retryable marks an error that the host has caused. It returns nil for nil.
func retryable(err error) error {
	if err == nil {
		return nil
	}
	return &taskError{err: err, retry: true}
}

// startError returns the error of StartTask for a failed step. A mistake in the
// configuration names its field, so the step's name is left out.
func startError(step string, err error) error {
	if errors.Is(err, errConfig) {
		return &taskError{err: err}
	}
	return &taskError{err: fmt.Errorf("%s: %w", step, err), retry: mayRetry(err)}
}

// imageError returns the error of StartTask for an image that cannot be brought in. The
// error names the image.
func imageError(err error) error { return &taskError{err: err, retry: mayRetry(err)} }

// transientErrors are errors whose cause, such as the load of the host or of a registry, may
// go away by itself.
var transientErrors = []error{
	syscall.ENOSPC, syscall.EDQUOT, syscall.ENOMEM, syscall.EAGAIN, syscall.EMFILE, syscall.ENFILE,
	syscall.EBUSY, syscall.EINTR, context.Canceled, context.DeadlineExceeded, disk.ErrReserve,
	source.ErrUnavailable,
}

// mayRetry reports whether a later start of the same task may succeed.
func mayRetry(err error) bool {
	if errors.Is(err, executor.ErrPlan) {
		return false // a bug of the driver
	}
	var marked *taskError
	if errors.As(err, &marked) {
		return marked.retry
	}
	for _, transient := range transientErrors {
		if errors.Is(err, transient) {
			return true
		}
	}
	return false
}

// withoutPath returns the cause of a path error. Callers use it to name the file
// as the job does, instead of by a path of the driver.
func withoutPath(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
