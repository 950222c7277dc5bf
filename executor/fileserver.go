// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files/jail"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
)

const (
	// filesEndTimeout limits the time that the executor waits for the file server after the
	// guest's end. The server may be blocked in a system call on a file system of the network.
	filesEndTimeout = 5 * time.Second
	// filesEndGrace is the time after which an orderly end of the server is unexpected. The
	// server ends when the guest does, and may be faster than the end of the guest's process.
	filesEndGrace = time.Second
)

// A fileServer is the child process that serves the task's live directories. Without one,
// the server is nil.
type fileServer struct {
	server *jail.Server
	id     Process
	pidfd  int // -1: the server has been reaped

	publishAt time.Time // when to publish reason; zero: never
	reason    string    // how the server ended
	ended     string    // State.FilesEnded
	deadline  time.Time // when to wait no longer for the server of an ended guest; zero: no wait
	endedFD   int       // FilesFile
}

// startFileServer starts the task's file server and returns the guest's end of its socket. The
// server confines itself while the guest starts, which saves some milliseconds. A guest uses no
// file of a live directory before the server has answered it.
func (t *task) startFileServer() (*os.File, error) {
	guestFD, conn, err := jail.SocketPair()
	if err != nil {
		return nil, err
	}
	guest := t.giveToGuest(guestFD, "files")
	defer func() { _ = unix.Close(conn) }()
	plan := t.plan.Files
	f := jail.Files{Program: firstFile + plan.ProgramFD, Conn: conn}
	for _, share := range plan.Server.Shares {
		f.Shares = append(f.Shares, firstFile+share.FD)
	}
	if t.files.endedFD, err = t.dir.create(FilesFile); err != nil {
		return nil, fmt.Errorf("create %s: %w", FilesFile, err)
	}
	if t.files.server, err = jail.Start(plan.Server, f); err != nil {
		return nil, err
	}
	if t.files.pidfd, err = unix.PidfdOpen(t.files.server.Pid, 0); err != nil {
		return nil, fmt.Errorf("pidfd_open of the file server: %w", err)
	}
	t.files.id, err = findStarted(t.files.server.Pid, t.self.BootID)
	return guest, err
}

// findStarted identifies a child process that may have ended already. The caller has not
// reaped it.
func findStarted(pid int, boot string) (Process, error) {
	p, err := FindProcess(pid)
	if errors.Is(err, ErrGone) {
		return Process{Pid: pid, BootID: boot}, nil
	}
	return p, err
}

// awaitFileServer waits until the file server is ready. If that fails, it kills the guest.
func (t *task) awaitFileServer() error {
	if t.files.server == nil {
		return nil
	}
	err := t.files.server.AwaitReady()
	if err != nil {
		t.files.server = nil // it has been reaped
		_ = t.guest.Signal(unix.SIGKILL)
		_, _ = t.guest.Wait()
	}
	return err
}

// killFileServer ends the server of a start that failed.
func (t *task) killFileServer() {
	if t.files.server == nil {
		return
	}
	_ = unix.Kill(t.files.server.Pid, unix.SIGKILL)
	_, _ = eintr.Retry(func() (int, error) { return syscall.Wait4(t.files.server.Pid, nil, 0, nil) })
}

// recordFilesEnd reaps the file server. The end is published if the guest runs on.
func (t *task) recordFilesEnd(now time.Time) {
	var status syscall.WaitStatus
	_, err := eintr.Retry(func() (int, error) { return syscall.Wait4(t.files.server.Pid, &status, 0, nil) })
	_ = unix.Close(t.files.pidfd)
	t.files.pidfd, t.files.deadline = -1, time.Time{}
	t.files.reason, t.files.publishAt = t.files.server.Ended(status), now
	switch {
	case err != nil:
		t.files.reason = err.Error()
	case status.Exited() && status.ExitStatus() == 0:
		t.files.publishAt = now.Add(filesEndGrace)
	case status.Signal() == unix.SIGKILL:
		// The guest's end must not count this kill once more.
		if kills, _, err := t.cgroupFiles.OOM(); err == nil && kills > t.oomKills {
			t.files.reason, t.oomKills = "out of memory", kills
		}
	}
}

// filesTimeouts publishes the end of the file server when it is due, and ends the wait for
// the server of an ended guest.
func (t *task) filesTimeouts(now time.Time) {
	f := &t.files
	if !f.publishAt.IsZero() && !now.Before(f.publishAt) && t.exit == nil {
		f.publishAt = time.Time{}
		f.ended = f.reason
		_, _ = unix.Pwrite(f.endedFD, []byte(f.ended), 0) // State and Exit contain it as well
		t.logf("the file server ended (%s): the task's live directories return EIO until the task restarts", f.ended)
	}
	if !f.deadline.IsZero() && !now.Before(f.deadline) {
		f.deadline = time.Time{}
		t.logf("the file server has not ended %v after the guest; see /proc/%d/stack", filesEndTimeout, f.id.Pid)
	}
}
