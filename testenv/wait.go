// SPDX-License-Identifier: MPL-2.0

package testenv

import (
	"testing"
	"time"

	"github.com/shoenig/test/wait"
)

// Patience is how long a test waits before it fails. It is far longer than
// anything takes: many tests run at the same time, on machines with two cores.
const Patience = 90 * time.Second

// pollInterval is the pause between two checks of a condition.
const pollInterval = 10 * time.Millisecond

// Eventually is for must.Wait: the condition must return nil within Patience.
func Eventually(condition func() error) *wait.Constraint {
	return wait.InitialSuccess(wait.Timeout(Patience), wait.Gap(pollInterval), wait.ErrorFunc(condition))
}

// EventuallyTrue is for must.Wait: the condition must be true within Patience.
func EventuallyTrue(condition func() bool) *wait.Constraint {
	return wait.InitialSuccess(wait.Timeout(Patience), wait.Gap(pollInterval), wait.BoolFunc(condition))
}

// Receive returns the next value of a channel. It fails the test if no value
// arrives within Patience.
func Receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	var value T
	select {
	case value = <-from:
	case <-time.After(Patience):
		t.Fatalf("no value on a %T within %v", from, Patience)
	}
	return value
}
