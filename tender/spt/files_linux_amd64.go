// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// timerEvent is the user data of the timer in the epoll set (Solo5:
// SPT_INTERNAL_TIMERFD). The user data of a net device is its handle.
const timerEvent = 0xfffffffe

// files are the file descriptors of one launch. All of them are close-on-exec.
type files struct {
	inherited    []int // the child's descriptors, by their numbers in the child
	statusReader int   // the read end of the status pipe
	statusWriter int   // the child's end
	opened       []int // descriptors that close closes
	memory       []*os.File
}

func openFiles(g *tender.Guest, devices []tender.Device, l *launch) (_ *files, err error) {
	f := &files{statusWriter: -1}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	console, err := outputDescriptor(g.Console)
	if err != nil {
		return nil, err
	}
	stderr := -1
	if g.Stderr != nil {
		if stderr, err = outputDescriptor(g.Stderr); err != nil {
			return nil, err
		}
	}
	epoll, timer, err := f.openEpoll()
	if err != nil {
		return nil, err
	}
	f.inherited = []int{-1, console, stderr, epoll, timer}
	for i := range devices {
		fd, err := prepareDevice(&devices[i], epoll, i+1)
		if err != nil {
			return nil, fmt.Errorf("device %q: %w", devices[i].Name, err)
		}
		f.inherited = append(f.inherited, fd)
	}
	return f, f.openLauncherFiles(g, l)
}

// outputDescriptor returns the file descriptor of an output of the guest, and makes it blocking.
func outputDescriptor(f *os.File) (int, error) {
	fd, err := descriptor(f)
	if err != nil {
		return -1, err
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		return -1, fmt.Errorf("make %s blocking: %w", f.Name(), err)
	}
	return fd, nil
}

// openEpoll creates an epoll set with a timer in it. The guest waits on the set.
func (f *files) openEpoll() (epoll, timer int, err error) {
	if epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return 0, 0, fmt.Errorf("create the epoll set: %w", err)
	}
	f.opened = append(f.opened, epoll)
	if timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return 0, 0, fmt.Errorf("create the timer: %w", err)
	}
	f.opened = append(f.opened, timer)
	return epoll, timer, addToEpoll(epoll, timer, unix.EPOLLIN, timerEvent)
}

// prepareDevice returns a device's file descriptor. It makes that of a net device
// non-blocking and adds it to the epoll set.
func prepareDevice(d *tender.Device, epoll, handle int) (int, error) {
	fd, err := descriptor(d.File)
	if err != nil || d.Type != unikernel.Net {
		return fd, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return -1, fmt.Errorf("make %s non-blocking: %w", d.File.Name(), err)
	}
	events := uint32(unix.EPOLLIN)
	if d.Name == unikernel.DeviceFiles {
		// The guest reads this device until it is empty. After the end of the file server the
		// device stays ready, and a guest that waits for a level could never sleep again.
		events |= unix.EPOLLET
	}
	return fd, addToEpoll(epoll, fd, events, uint32(handle))
}

func addToEpoll(epoll, fd int, events, data uint32) error {
	// Fd and Pad are the two halves of the kernel's 64-bit user data.
	event := unix.EpollEvent{Events: events, Fd: int32(data)}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("add to the epoll set: %w", err)
	}
	return nil
}

// openLauncherFiles adds the descriptors that only the launcher uses, in the order
// of fdStatus, fdKernel, fdData, fdCommandLine and fdLauncher.
func (f *files) openLauncherFiles(g *tender.Guest, l *launch) error {
	kernelFD, err := descriptor(g.Kernel)
	if err != nil {
		return err
	}
	commandLineFD := -1
	if g.CommandLineFile != nil {
		if commandLineFD, err = descriptor(g.CommandLineFile); err != nil {
			return err
		}
	}
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("create the status pipe: %w", err)
	}
	f.statusReader, f.statusWriter = pipe[0], pipe[1]
	f.opened = append(f.opened, f.statusReader)
	dataFD, err := f.openMemory(memfd.New("spt-data", l.data))
	if err != nil {
		return err
	}
	launcherFD, err := f.openMemory(memfd.NewExecutable("spt-launcher", l.launcher))
	if err != nil {
		return err
	}
	f.inherited = append(f.inherited, f.statusWriter, kernelFD, dataFD, commandLineFD, launcherFD)
	return nil
}

// openMemory keeps a memory file for close and returns its descriptor.
func (f *files) openMemory(file *os.File, err error) (int, error) {
	if err != nil {
		return -1, err
	}
	f.memory = append(f.memory, file)
	return descriptor(file)
}

// closeStatusWriter leaves the child as the only writer of the status pipe.
func (f *files) closeStatusWriter() error {
	fd := f.statusWriter
	f.statusWriter = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close the status pipe: %w", err)
	}
	return nil
}

// close closes the descriptors that openFiles opened, but not the guest's files.
func (f *files) close() {
	for _, fd := range append(f.opened, f.statusWriter) {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	for _, file := range f.memory {
		_ = file.Close()
	}
}

// descriptor returns the number of an open file. Unlike os.File.Fd, it does not
// change the blocking mode, which all processes that share the file see. The
// caller keeps f reachable while it uses the number.
func descriptor(f *os.File) (int, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("%s: %w", f.Name(), err)
	}
	number := -1
	if err := conn.Control(func(fd uintptr) { number = int(fd) }); err != nil {
		return -1, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return number, nil
}

// canMapCode reports whether the kernel file's pages can be mapped as executable.
// On a file system that is mounted noexec they cannot; the launcher then copies
// them.
func canMapCode(kernel *os.File) (bool, error) {
	fd, err := descriptor(kernel)
	if err != nil {
		return false, err
	}
	var fs unix.Statfs_t
	if _, err := eintr.Retry(func() (int, error) { return 0, unix.Fstatfs(fd, &fs) }); err != nil {
		return false, fmt.Errorf("find the file system of %s: %w", kernel.Name(), err)
	}
	return fs.Flags&unix.ST_NOEXEC == 0, nil
}
