// SPDX-License-Identifier: MPL-2.0

// Package shares serves directories with a file server in its jail, for tests and benchmarks.
// It needs root.
package shares

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/jail"
)

// A Server is a running file server.
type Server struct {
	// Guest is the other end of the server's socket. The owner closes it when a guest has
	// inherited it.
	Guest *os.File
	Pid   int
	jail  *jail.Server
}

// Serve starts a file server for a plan. The paths are those of its shares. Program is the path
// of lkl-files.
func Serve(program string, plan files.Plan, paths ...string) (_ *Server, err error) {
	plan.Version = files.Version
	f := jail.Files{}
	var opened []int
	defer func() {
		for _, fd := range opened {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	open := func(path string, flags int) (int, error) {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, fmt.Errorf("open %s: %w", path, err)
		}
		opened = append(opened, fd)
		return fd, nil
	}
	if f.Program, err = open(program, unix.O_RDONLY); err != nil {
		return nil, err
	}
	for _, path := range paths {
		fd, err := open(path, unix.O_PATH)
		if err != nil {
			return nil, err
		}
		f.Shares = append(f.Shares, fd)
	}
	guestFD, conn, err := jail.SocketPair()
	if err != nil {
		return nil, err
	}
	opened = append(opened, conn)
	guest := os.NewFile(uintptr(guestFD), "files")
	f.Conn = conn
	server, err := jail.Start(plan, f)
	if err != nil {
		return nil, errors.Join(err, guest.Close())
	}
	return &Server{Guest: guest, Pid: server.Pid, jail: server}, nil
}

// Wait waits until the server has ended, which it does when the guest's end is closed. It
// returns an error unless the server ended orderly.
func (s *Server) Wait() error {
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(s.Pid, &status, 0, nil); err != nil {
		return err
	}
	if end := s.jail.Ended(status); !status.Exited() || status.ExitStatus() != 0 {
		return fmt.Errorf("the file server ended: %s", end)
	}
	return nil
}
