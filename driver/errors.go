// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
)

// taskError is an error of StartTask as Nomad's plugin server wants it: it
// tells whether the same task may start at another time on this client, and so
// is worth a restart. (The server looks for nomad/structs.Recoverable without
// unwrapping, so this has to be the outermost error.)
type taskError struct {
	err   error
	retry bool
}

func (e *taskError) Error() string       { return e.err.Error() }
func (e *taskError) Unwrap() error       { return e.err }
func (e *taskError) IsRecoverable() bool { return e.retry }

// retryable marks an error of the host's making; nil stays nil.
func retryable(err error) error {
	if err == nil {
		return nil
	}
	return &taskError{err: err, retry: true}
}

// startError is the error of a step of StartTask, for Nomad. A mistake in the
// configuration names its field, which tells more than the step.
func startError(step string, err error) error {
	if errors.Is(err, errConfig) {
		return &taskError{err: err}
	}
	return &taskError{err: fmt.Errorf("%s: %w", step, err), retry: worthRetrying(err)}
}

// passing are errors of the system whose cause may go away by itself.
var passing = []error{
	syscall.ENOSPC, syscall.EDQUOT, syscall.ENOMEM, syscall.EAGAIN, syscall.EMFILE, syscall.ENFILE,
	syscall.EBUSY, syscall.EINTR, context.Canceled, context.DeadlineExceeded,
}

func worthRetrying(err error) bool {
	if errors.Is(err, executor.ErrPlan) {
		return false // a mistake of ours, and the same the next time
	}
	var marked *taskError
	if errors.As(err, &marked) {
		return marked.retry
	}
	for _, p := range passing {
		if errors.Is(err, p) {
			return true
		}
	}
	return false
}
