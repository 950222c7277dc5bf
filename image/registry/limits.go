// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"context"
	"time"
)

// limits bound the work for one registry. Tests shorten the times.
type limits struct {
	// attempts of a request that fails for a reason that can pass.
	attempts int
	// backoff is the pause after the first attempt. Each further pause is twice as long.
	backoff time.Duration
	// maxRetryAfter is the longest pause that a registry can ask for. A longer one is an
	// error at once.
	maxRetryAfter time.Duration
	// stall is the time without any byte from the server after which a request fails.
	stall time.Duration
	// commit is stall for uploads: a registry hashes and stores a blob before it answers.
	commit time.Duration
	// dial limits the time of a connection's establishment.
	dial time.Duration
	// helper limits the time of a credential helper.
	helper time.Duration
	// progress is the number of bytes after which a download that breaks off again has
	// all its attempts again.
	progress int64
	// wait pauses between two attempts.
	wait func(context.Context, time.Duration) error
}

var defaultLimits = limits{
	attempts:      5,
	backoff:       500 * time.Millisecond,
	maxRetryAfter: 30 * time.Second,
	stall:         30 * time.Second,
	commit:        5 * time.Minute,
	dial:          10 * time.Second,
	helper:        30 * time.Second,
	progress:      1 << 20,
	wait:          pause,
}

const (
	maxRedirects  = 5
	maxHeaderSize = 64 << 10 // of a response, in bytes
	maxTokenSize  = 64 << 10 // of the answer of a token server, in bytes
	maxErrorSize  = 8 << 10  // bytes that are read of the body of an error
)

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
