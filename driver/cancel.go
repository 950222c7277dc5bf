// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
)

// The causes for which a start is canceled. The end of the plugin and timeoutError are
// further ones.
var (
	errStopped  = errors.New("the task was stopped while it started")
	errReplaced = errors.New("a newer start of the task replaced this one")
)

// timeoutError returns the cause for which a start is canceled at its deadline.
func timeoutError(limit time.Duration) error {
	return fmt.Errorf("the start took longer than start_timeout (%v): check the kernel and the rootfs for damage, "+
		"or set a larger start_timeout in the client's plugin config", limit)
}

// canceledError adds the cause to the error of a start that was canceled. The error is nil
// if the start succeeded at the same moment.
//
// Nomad may repeat such a start within the job's restart policy: a host under load can be
// the reason for a timeout. Nomad marks a stopped task as failed if the error does not
// permit a restart, and restarts no stopped task in any case.
func canceledError(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil:
		return err
	case err == nil:
		err = cause
	case !errors.Is(err, cause):
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return retryable(err)
}

// A startTimer cancels a start that takes longer than start_timeout. It stands still during
// the pull of the image, which image_pull_timeout limits.
type startTimer struct {
	timer *time.Timer
	ends  time.Time
}

// startContext returns the context of a start, which ends at the deadline and with
// the plugin.
func (d *Driver) startContext() (context.Context, *startTimer, context.CancelFunc) {
	limit := d.config.startTimeout()
	ctx, cancel := context.WithCancelCause(d.ctx)
	timer := time.AfterFunc(limit, func() { cancel(timeoutError(limit)) })
	return ctx, &startTimer{timer: timer, ends: time.Now().Add(limit)}, func() {
		timer.Stop()
		cancel(nil)
	}
}

// pause stops the timer until resume is called. It has no effect on a start that has been
// canceled.
func (t *startTimer) pause() (resume func()) {
	if !t.timer.Stop() {
		return func() {}
	}
	left := time.Until(t.ends)
	return func() {
		t.ends = time.Now().Add(left)
		t.timer.Reset(left)
	}
}

// replaceOtherStart cancels a start of the same task under another ID. Nomad runs one
// start of a task at a time: an agent that died requested the other one.
func (d *Driver) replaceOtherStart(ctx context.Context, task *drivers.TaskConfig) error {
	r := d.tasks.otherStart(task)
	if r == nil {
		return nil
	}
	if err := cancelStart(ctx, r, errReplaced); err != nil {
		return retryable(fmt.Errorf("replace an earlier start of the task: %w", err))
	}
	return nil
}

// cancelStart cancels a start and returns when it has been undone, or has succeeded all
// the same. A recovery is not canceled, only awaited.
func cancelStart(ctx context.Context, r *reservation, cause error) error {
	r.cancel(cause)
	select {
	case <-r.ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if r.undoErr != nil {
		return fmt.Errorf("undo the start: %w", r.undoErr)
	}
	return nil
}

// stopStarting cancels a task's start, if one is under way. It returns true if that has
// left no task.
func (d *Driver) stopStarting(id string) (bool, error) {
	r := d.tasks.reservation(id)
	if r == nil {
		return false, nil
	}
	if err := cancelStart(d.ctx, r, errStopped); err != nil {
		return false, err
	}
	_, err := d.tasks.get(id)
	return errors.Is(err, drivers.ErrTaskNotFound), nil
}
