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
	done := make(chan error, 1)
	go func() { done <- enter(ns, do) }()
	if err := <-done; err != nil {
		return fmt.Errorf("network namespace %s: %w", path, err)
	}
	return nil
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

// enter runs do inside of ns. It is a goroutine of its own: where the thread
// cannot go back it stays locked and ends with it.
func enter(ns *os.File, do func(*namespace) error) error {
	runtime.LockOSThread()
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
