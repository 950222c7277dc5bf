// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
)

// exitReserve is the disk space in bytes that is allocated for the exit status
// in advance.
const exitReserve = 4096

// start starts the guest of a plan. After an error the process has to end, which
// releases everything that start acquired.
func start(plan *Plan, files int) (*task, error) {
	if err := plan.Check(files); err != nil {
		return nil, err
	}
	unix.Umask(0o077)
	t := &task{
		plan: plan, plugin: os.Geteuid(),
		outputs: newOutputs(), control: -1, files: fileServer{pidfd: -1, endedFD: -1},
	}
	if err := t.register(); err != nil {
		return nil, err
	}
	if err := t.openTaskOutputs(); err != nil {
		return nil, err
	}
	if err := t.enterCgroup(); err != nil {
		return nil, err
	}
	if err := t.listen(); err != nil {
		return nil, err
	}
	if err := t.startGuest(files); err != nil {
		t.killFileServer()
		return nil, err
	}
	if err := t.finishStart(); err != nil {
		// The kernel would kill the guest with this process anyway.
		_ = t.guest.Signal(unix.SIGKILL)
		_, _ = t.guest.Wait()
		t.killFileServer()
		return nil, err
	}
	plan.CommandLine = ""
	return t, nil
}

// register writes the identity of the executor, so that a later plugin finds the
// process.
func (t *task) register() error {
	self, err := FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	t.self = self
	if t.plan.UIDBase != 0 {
		t.uid = t.plan.UIDBase + self.Pid
	}
	if t.dir, err = openDir(t.plan.Dir); err != nil {
		return err
	}
	if t.exitFile, err = atomicfile.ReserveAt(t.dir.fd, ExitFile, exitReserve); err != nil {
		return err
	}
	if t.droppedFD, err = t.dir.create(DroppedFile); err != nil {
		return fmt.Errorf("create %s: %w", filepath.Join(t.dir.path, DroppedFile), err)
	}
	if err := t.writeDropped(); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(t.dir.path, DroppedFile), err)
	}
	return t.writeIdentity()
}

// writeIdentity writes IdentityFile.
func (t *task) writeIdentity() error {
	return t.dir.write(IdentityFile, Identity{
		Version: Version, MinVersion: MinVersion, Task: t.plan.Task,
		Executor: t.self, Guest: t.guestID, Files: t.files.id, UID: t.uid,
	})
}

// openTaskOutputs opens the task's stdout and stderr. The latter becomes the stderr
// of this process.
func (t *task) openTaskOutputs() error {
	fd, err := openOutput(t.plan.OutputRoot, t.plan.Stderr)
	if err != nil {
		return err
	}
	err = unix.Dup3(fd, stderrFD, 0)
	_ = unix.Close(fd)
	if err != nil {
		return fmt.Errorf("use %s as stderr: %w", t.plan.Stderr, err)
	}
	t.outputs.stdout.out, err = openOutput(t.plan.OutputRoot, t.plan.Stdout)
	return err
}

func (t *task) enterCgroup() error {
	group, err := t.plan.Cgroup.Group()
	if err != nil {
		return err
	}
	t.group = group
	if err := group.Create(); err != nil {
		return fmt.Errorf("set the task's limits: %w", err)
	}
	// Restarts of a task share the group, and its counter.
	if m, err := group.Memory(); err == nil {
		t.oomKills = m.OOMKills
	}
	return group.Enter()
}

func (t *task) listen() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("create the socket: %w", err)
	}
	// A socket address has room for 107 bytes only; the path of the directory may
	// be longer.
	path := filepath.Join("/proc/self/fd", strconv.Itoa(t.dir.fd), SocketFile)
	t.dir.remove(SocketFile)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return fmt.Errorf("bind %s: %w", filepath.Join(t.dir.path, SocketFile), err)
	}
	if err := unix.Listen(fd, maxConns); err != nil {
		return fmt.Errorf("listen on %s: %w", filepath.Join(t.dir.path, SocketFile), err)
	}
	t.listener = fd
	return nil
}

// startGuest starts the guest, which inherits the limits of this thread.
func (t *task) startGuest(files int) error {
	if err := errors.Join(restrictGuest(), limitChildren()); err != nil {
		return err
	}
	for i := range files {
		t.giveToGuest(firstFile+i, "file "+strconv.Itoa(i))
	}
	defer t.closeGuestFiles()
	guest, err := t.tenderGuest(t.guestFiles)
	if err != nil {
		return err
	}
	if err := guest.Check(); err != nil {
		return err
	}
	t.guest, err = spt.Start(guest, tender.Jail{
		UID: t.uid, GID: t.uid, Root: t.plan.Root, DieWithParent: true, NewSession: true,
	})
	if err != nil {
		return fmt.Errorf("start the guest: %w", err)
	}
	if err := t.awaitFileServer(); err != nil {
		return err
	}
	t.started = time.Now().UTC() // a confined process cannot read the local time zone
	return nil
}

// finishStart completes the start once the guest runs.
func (t *task) finishStart() error {
	var err error
	// If the guest has already ended, serve will notice.
	if t.guestID, err = findStarted(t.guest.Pid, t.self.BootID); err != nil {
		return err
	}
	if t.pidfd, err = unix.PidfdOpen(t.guest.Pid, 0); err != nil {
		return fmt.Errorf("pidfd_open of the guest: %w", err)
	}
	if err := t.writeIdentity(); err != nil {
		return err
	}
	if err := t.group.Release(); err != nil {
		return err
	}
	if t.cgroupFiles, err = t.group.Open(); err != nil {
		return err
	}
	if t.signals, err = catchSignals(); err != nil {
		return err
	}
	return protectFromOOM()
}
