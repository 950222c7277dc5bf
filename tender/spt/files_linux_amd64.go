// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// timerEvent is the timer's data in the epoll set; a net device's is its
// handle (Solo5: SPT_INTERNAL_TIMERFD of spt_abi.h).
const timerEvent = 0xfffffffe

// files are the descriptors of one launch, all of them close-on-exec.
type files struct {
	inherited []int // what the child gets, by its own numbers
	status    int   // the reading end of the status pipe
	writer    int   // the child's end
	ours      []int // to be closed here
}

func openFiles(g *tender.Guest, devices []tender.Device, p *plan) (_ *files, err error) {
	f := &files{writer: -1}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	console, err := tender.FD(g.Console)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(console, false); err != nil {
		return nil, fmt.Errorf("making the console blocking: %w", err)
	}
	epoll, timer, err := f.openEvents()
	if err != nil {
		return nil, err
	}
	f.inherited = []int{-1, console, -1, epoll, timer}
	for i := range devices {
		fd, err := attach(&devices[i], epoll, i+1)
		if err != nil {
			return nil, fmt.Errorf("device %q: %w", devices[i].Name, err)
		}
		f.inherited = append(f.inherited, fd)
	}
	return f, f.openTemporary(g.Kernel, p)
}

// openEvents makes what the guest waits with: an epoll set with a timer in it.
func (f *files) openEvents() (epoll, timer int, err error) {
	if epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return 0, 0, fmt.Errorf("making the epoll set: %w", err)
	}
	f.ours = append(f.ours, epoll)
	if timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return 0, 0, fmt.Errorf("making the timer: %w", err)
	}
	f.ours = append(f.ours, timer)
	return epoll, timer, watch(epoll, timer, timerEvent)
}

// attach readies a device's file for the guest.
func attach(d *tender.Device, epoll, handle int) (int, error) {
	fd, err := tender.FD(d.File)
	if err != nil || d.Type != unikernel.Net {
		return fd, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return -1, fmt.Errorf("making %s non-blocking: %w", d.File.Name(), err)
	}
	return fd, watch(epoll, fd, uint32(handle))
}

func watch(epoll, fd int, data uint32) error {
	// Fd and Pad are the two halves of the kernel's 64-bit data.
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(data)}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("adding to the epoll set: %w", err)
	}
	return nil
}

// openTemporary adds what the launcher needs and closes, in the order of
// fdStatus and its followers.
func (f *files) openTemporary(kernel *os.File, p *plan) error {
	kernelFD, err := tender.FD(kernel)
	if err != nil {
		return err
	}
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("making the status pipe: %w", err)
	}
	f.status, f.writer = pipe[0], pipe[1]
	f.ours = append(f.ours, f.status)
	data, err := f.memory("spt-data", p.data)
	if err != nil {
		return err
	}
	launcher, err := f.memory("spt-launcher", p.launcher)
	if err != nil {
		return err
	}
	f.inherited = append(f.inherited, f.writer, kernelFD, data, launcher)
	return nil
}

// memory makes a memfd with this content.
func (f *files) memory(name string, content []byte) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 all of them are executable
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return -1, fmt.Errorf("making memory file %s: %w (EACCES: set vm.memfd_noexec to 0 or 1)", name, err)
	}
	f.ours = append(f.ours, fd)
	for written := 0; written < len(content); {
		n, err := unix.Write(fd, content[written:])
		if err != nil {
			return -1, fmt.Errorf("writing memory file %s: %w", name, err)
		}
		written += n
	}
	return fd, nil
}

// closeStatusWriter leaves the child as the only writer of the status pipe.
func (f *files) closeStatusWriter() error {
	fd := f.writer
	f.writer = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("closing the status pipe: %w", err)
	}
	return nil
}

// close closes what Start opened; the guest's own files stay as they are.
func (f *files) close() {
	for _, fd := range append(f.ours, f.writer) {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// mayMapCode tells whether executable pages can be mapped from the file: not
// where its file system is mounted noexec. They are copied then.
func mayMapCode(kernel *os.File) (bool, error) {
	fd, err := tender.FD(kernel)
	if err != nil {
		return false, err
	}
	var fs unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(fd, &fs) }); err != nil {
		return false, fmt.Errorf("asking for the file system of %s: %w", kernel.Name(), err)
	}
	return fs.Flags&unix.ST_NOEXEC == 0, nil
}
