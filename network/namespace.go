// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// How long the kernel may take to answer, which it does at once.
const answerTime = 10 * time.Second

// namespace is a network namespace that this thread is in.
type namespace struct {
	*netlink.Handle
}

// inside runs do on a thread inside the network namespace at a path.
func inside(path string, do func(*namespace) error) error {
	ns, err := openNamespace(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := apart(func() error { return enter(ns, do) }); err != nil {
		return fmt.Errorf("network namespace %s: %w", path, err)
	}
	return nil
}

// apart runs do in a goroutine that has a thread to itself.
func apart(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		// The first thread's namespace is the whole process's to whoever looks into
		// /proc/self/net: keep that one busy meanwhile and take another.
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- apart(do)
			return
		}
		done <- do()
	}()
	return <-done
}

// openNamespace refuses what is no network namespace, such as the empty file that
// is left of one.
func openNamespace(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w at %q", ErrNoNamespace, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		f.Close()
		return nil, fmt.Errorf("%w at %q", ErrNoNamespace, path)
	}
	return f, nil
}

// enter runs do inside of ns, on a thread that the goroutine has locked. A thread
// that cannot go back stays so and ends with the goroutine.
func enter(ns *os.File, do func(*namespace) error) error {
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer own.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("setns: %w", err)
	}
	defer func() {
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	if err := h.SetSocketTimeout(answerTime); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	return do(&namespace{h})
}
