// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

// A Retry is a failed attempt that the client repeats.
type Retry struct {
	// Reason is the cause of the failure, on one line.
	Reason string
	// Next is the number of the next attempt, and Attempts the largest number.
	Next, Attempts int
	// Pause is the pause before the next attempt, if the registry has asked for one.
	Pause time.Duration
}

// String returns one line for people.
func (r Retry) String() string {
	text := fmt.Sprintf("%s; attempt %d of %d", r.Reason, r.Next, r.Attempts)
	if r.Pause > 0 {
		text += fmt.Sprintf(" in %v", r.Pause)
	}
	return text
}

type retryKey struct{}

// WithRetryFunc returns a context in which the methods of Client and Source call f before
// they repeat a failed attempt. Several goroutines may call f at the same time.
func WithRetryFunc(ctx context.Context, f func(Retry)) context.Context {
	return context.WithValue(ctx, retryKey{}, f)
}

// retry repeats an operation whose failures can pass.
func (c *Client) retry(ctx context.Context, attempts int, operation func() error) error {
	for attempt := 1; ; attempt++ {
		err := operation()
		f, ok := errors.AsType[*failure](err)
		if !ok || !f.transient || ctx.Err() != nil || attempts == 1 {
			return err
		}
		if attempt >= attempts {
			return &failure{kind: f.kind, reason: fmt.Errorf("%w (%d attempts)", f.reason, attempt)}
		}
		if err := c.waitAfter(ctx, f, attempt, attempts); err != nil {
			return err
		}
	}
}

// waitAfter pauses before the next attempt. Half of a pause is random, so that many
// clients of a registry do not return at the same moment.
func (c *Client) waitAfter(ctx context.Context, f *failure, attempt, attempts int) error {
	d := c.limits.backoff << (attempt - 1)
	d = d/2 + rand.N(d/2+1)
	if f.retryAfter > c.limits.maxRetryAfter {
		return &failure{kind: f.kind, reason: fmt.Errorf("%w (it asks to wait for %v)", f.reason, f.retryAfter)}
	}
	if report, ok := ctx.Value(retryKey{}).(func(Retry)); ok {
		report(Retry{Reason: f.summary(), Next: attempt + 1, Attempts: attempts, Pause: f.retryAfter})
	}
	if err := c.limits.wait(ctx, max(d, f.retryAfter)); err != nil {
		return fmt.Errorf("%w, after: %w", err, f)
	}
	return nil
}

// summary returns the reason of a failure without its remedy.
func (f *failure) summary() string {
	if f.short != "" {
		return clip(f.short)
	}
	return clip(f.reason.Error())
}

// innermost returns the text of the first cause of an error of the network.
func innermost(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return "cannot look up its name: " + dns.Err
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
