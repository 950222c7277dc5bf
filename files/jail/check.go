// SPDX-License-Identifier: MPL-2.0

package jail

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
)

// Check reports whether this host can make the root directory of a server. It makes one, in
// namespaces of a thread that ends afterwards. It needs root.
func Check() error { return onThread(func() error { return makeRoot("/etc") }) }

// onThread calls a function on a thread that ends afterwards. This is never the main thread,
// which would keep its namespaces, and which /proc/self shows.
func onThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // without an unlock, the thread ends with the goroutine
		if unix.Gettid() != unix.Getpid() {
			result <- f()
			return
		}
		defer runtime.UnlockOSThread()
		result <- onThread(f) // not on this thread, which is locked meanwhile
	}()
	return <-result
}

// makeRoot moves this thread to a root directory that contains a directory of the host as
// its share.
func makeRoot(path string) error {
	dir, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer closeAll([]int{dir})
	plan := &files.Plan{Shares: []files.Share{{ReadOnly: true}}}
	mounts, err := cloneShares(plan.Shares, []int{dir})
	defer closeAll(mounts)
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("create namespaces: %w", err)
	}
	return enterRoot(plan, mounts)
}
