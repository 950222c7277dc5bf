// SPDX-License-Identifier: MPL-2.0

// Package osthread runs functions that change the state of their OS thread.
package osthread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Run calls do on an OS thread that no other goroutine uses, and returns its error.
// The thread exits when do returns, so a change of its state, such as a seccomp filter
// or another namespace, affects no other code. A function that restores the thread may
// call runtime.UnlockOSThread to hand it back to the scheduler.
//
// The main thread is never used: it lives as long as the process, and
// /proc/self shows its state as that of the process.
func Run(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// Keep the main thread occupied until another one has run do.
			defer runtime.UnlockOSThread()
			done <- Run(do)
			return
		}
		done <- do()
	}()
	return <-done
}
