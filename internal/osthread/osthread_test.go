// SPDX-License-Identifier: MPL-2.0

package osthread_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/osthread"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

func TestRun_ReturnsTheErrorAndEndsTheThread(t *testing.T) {
	failure := errors.New("failure")
	var thread int
	must.ErrorIs(t, osthread.Run(func() error {
		thread = unix.Gettid()
		return failure
	}), failure)
	must.Wait(t, testenv.EventuallyTrue(func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", thread))
		return errors.Is(err, os.ErrNotExist)
	}))
}

func TestRun_NeverUsesTheMainThread(t *testing.T) {
	results := make(chan int, 100)
	for range cap(results) {
		go func() {
			_ = osthread.Run(func() error {
				results <- unix.Gettid()
				return nil
			})
		}()
	}
	for range cap(results) {
		must.NotEq(t, os.Getpid(), <-results)
	}
}
