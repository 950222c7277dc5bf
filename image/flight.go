// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"errors"
	"sync"
)

// errAbandoned is the cause for which an operation is canceled that no caller waits for.
var errAbandoned = errors.New("no task waits for the image any more")

// flights runs operations once for all callers that ask for the same at the same time. The
// zero value is ready for use.
type flights[T any] struct {
	mu      sync.Mutex
	closed  bool
	active  map[string]*flight[T]
	running sync.WaitGroup
}

// operation is the work of a flight.
type operation[T any] struct {
	run func(context.Context, func(Progress)) (T, error)
	// drop frees the value when no caller uses it any more.
	drop func(T)
}

// flight is an operation that runs in its own goroutine.
type flight[T any] struct {
	operation[T]
	cancel context.CancelCauseFunc
	done   chan struct{} // closed after the operation; value and err are then final
	value  T
	err    error

	// The lock of flights guards the fields below.
	finished bool
	waiters  map[chan struct{}]struct{} // each has room for one signal of new progress
	progress Progress
}

// join waits for the flight of a key. If no flight exists, it begins one with the operation
// that prepare returns. It passes the flight's progress to report. The caller calls release
// when it no longer needs the value; release is nil after an error.
//
// If the context ends, join leaves the flight. The flight is canceled when all have left.
func (fs *flights[T]) join(ctx context.Context, key string, prepare func() (operation[T], error),
	report func(Progress),
) (value T, release func(), err error) {
	f, wake, err := fs.enter(key, prepare)
	if err != nil {
		return value, nil, err
	}
	leave := func() { fs.leave(key, f, wake) }
	for {
		select {
		case <-wake:
			report(fs.latest(f))
		case <-f.done:
			if f.err != nil {
				leave()
				return value, nil, f.err
			}
			return f.value, leave, nil
		case <-ctx.Done():
			leave()
			return value, nil, context.Cause(ctx)
		}
	}
}

// enter adds a waiter to the flight of a key.
func (fs *flights[T]) enter(key string, prepare func() (operation[T], error)) (*flight[T], chan struct{}, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.closed {
		return nil, nil, ErrClosed
	}
	f := fs.active[key]
	if f == nil {
		op, err := prepare()
		if err != nil {
			return nil, nil, err
		}
		f = fs.begin(key, op)
	}
	wake := make(chan struct{}, 1)
	f.waiters[wake] = struct{}{}
	if f.progress.Stage != "" {
		wake <- struct{}{}
	}
	return f, wake, nil
}

// begin starts a flight. The caller has the lock.
func (fs *flights[T]) begin(key string, op operation[T]) *flight[T] {
	ctx, cancel := context.WithCancelCause(context.Background())
	f := &flight[T]{operation: op, cancel: cancel, done: make(chan struct{}), waiters: map[chan struct{}]struct{}{}}
	if fs.active == nil {
		fs.active = map[string]*flight[T]{}
	}
	fs.active[key] = f
	fs.running.Add(1)
	go func() {
		defer fs.running.Done()
		f.value, f.err = op.run(ctx, func(p Progress) { fs.publish(f, p) })
		cancel(nil)
		fs.mu.Lock()
		defer fs.mu.Unlock()
		f.finished = true
		close(f.done)
		fs.retire(key, f)
	}()
	return f
}

// leave removes a waiter.
func (fs *flights[T]) leave(key string, f *flight[T], wake chan struct{}) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(f.waiters, wake)
	if len(f.waiters) == 0 {
		f.cancel(errAbandoned)
		fs.retire(key, f)
	}
}

// retire is called when a flight has finished or has no waiters. Later callers begin a new
// flight. The value is dropped once both are the case. The caller has the lock.
func (fs *flights[T]) retire(key string, f *flight[T]) {
	if fs.active[key] == f {
		delete(fs.active, key)
	}
	if f.finished && len(f.waiters) == 0 && f.err == nil && f.drop != nil {
		f.drop(f.value)
	}
}

func (fs *flights[T]) publish(f *flight[T], p Progress) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.progress = p
	for wake := range f.waiters {
		select {
		case wake <- struct{}{}:
		default: // the waiter has not read the last progress yet, and will see this one
		}
	}
}

func (fs *flights[T]) latest(f *flight[T]) Progress {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return f.progress
}

// close cancels all flights and waits for their end.
func (fs *flights[T]) close() {
	fs.mu.Lock()
	fs.closed = true
	for _, f := range fs.active {
		f.cancel(ErrClosed)
	}
	fs.mu.Unlock()
	fs.running.Wait()
}
