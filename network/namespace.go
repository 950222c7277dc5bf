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

	"github.com/lkl-nomad/nomad-driver-lkl/internal/osthread"
)

// netlinkTimeout bounds the wait for an answer of the kernel, which is immediate.
const netlinkTimeout = 10 * time.Second

// namespace is a netlink socket in the network namespace that the calling thread is in.
type namespace struct {
	*netlink.Handle
}

// inNamespace calls do on a thread that is in the network namespace at path.
//
// netlink.NewHandleAt would not do: it switches whichever thread it is called on,
// and returns that thread to the scheduler even if it cannot be switched back.
func inNamespace(path string, do func(*namespace) error) error {
	ns, err := openNamespace(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := osthread.Run(func() error { return enter(ns, do) }); err != nil {
		return fmt.Errorf("network namespace %s: %w", path, err)
	}
	return nil
}

// openNamespace opens a network namespace. ErrNoNamespace: the path is missing or is
// another kind of file, such as the empty mount point of a removed namespace.
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

// enter moves the calling thread, which the goroutine has locked, into ns, calls do,
// and moves it back. If it cannot move back, the thread stays locked and exits with
// the goroutine.
func enter(ns *os.File, do func(*namespace) error) error {
	original, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer original.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("setns: %w", err)
	}
	defer func() {
		if unix.Setns(int(original.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return withNetlink(do)
}

// withNetlink calls do with a netlink socket in the calling thread's namespace.
func withNetlink(do func(*namespace) error) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	if err := h.SetSocketTimeout(netlinkTimeout); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	return do(&namespace{h})
}
