// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
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
	t := &task{plan: plan, console: console{in: -1, out: -1}, control: -1, droppedFD: -1}
	if err := t.register(); err != nil {
		return nil, err
	}
	if err := t.openOutputs(); err != nil {
		return nil, err
	}
	if err := t.enterCgroup(); err != nil {
		return nil, err
	}
	if err := t.listen(); err != nil {
		return nil, err
	}
	if err := t.startGuest(files); err != nil {
		return nil, err
	}
	if err := t.finishStart(); err != nil {
		// The kernel would kill the guest with this process anyway.
		_ = t.guest.Signal(unix.SIGKILL)
		_, _ = t.guest.Wait()
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
	// Not every file system can reserve space. Without it the exit status is
	// lost only if the disk fills up.
	_ = atomicfile.ReserveAt(t.dir.fd, ExitFile, exitReserve)
	return t.writeIdentity()
}

// writeIdentity writes IdentityFile.
func (t *task) writeIdentity() error {
	return t.dir.write(IdentityFile, Identity{
		Version: Version, MinVersion: MinVersion, Task: t.plan.Task,
		Executor: t.self, Guest: t.guestID, UID: t.uid,
	})
}

// openOutputs opens the task's stdout and stderr. The latter becomes the stderr
// of this process.
func (t *task) openOutputs() error {
	fd, err := openOutput(t.plan.OutputRoot, t.plan.Stderr)
	if err != nil {
		return err
	}
	err = unix.Dup3(fd, 2, 0)
	_ = unix.Close(fd)
	if err != nil {
		return fmt.Errorf("use %s as stderr: %w", t.plan.Stderr, err)
	}
	t.console.out, err = openOutput(t.plan.OutputRoot, t.plan.Stdout)
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
	if err := restrictGuest(); err != nil {
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
	t.started = time.Now()
	return nil
}

// giveToGuest registers fd to be closed in the executor once the guest has
// inherited it.
func (t *task) giveToGuest(fd int, name string) *os.File {
	f := os.NewFile(uintptr(fd), name)
	t.guestFiles = append(t.guestFiles, f)
	return f
}

func (t *task) closeGuestFiles() {
	for _, f := range t.guestFiles {
		_ = f.Close()
	}
	t.guestFiles = nil
}

// tenderGuest converts the plan and its files to the tender's type.
func (t *task) tenderGuest(files []*os.File) (*tender.Guest, error) {
	kernel := files[t.plan.KernelFD]
	image, err := readImage(kernel)
	if err != nil {
		return nil, err
	}
	g := &tender.Guest{
		Kernel: kernel, Info: image, Memory: t.plan.Memory,
		CommandLine: t.plan.CommandLine, ExecHeap: t.plan.ExecHeap, HugePages: t.plan.HugePages,
	}
	for _, d := range t.plan.Devices {
		var f *os.File
		if d.Control {
			f, err = t.openControl()
		} else {
			f = files[d.FD]
		}
		if err != nil {
			return nil, err
		}
		device, err := tenderDevice(d, f)
		if err != nil {
			return nil, err
		}
		g.Devices = append(g.Devices, device)
	}
	g.Console, err = t.openConsole()
	return g, err
}

// openConsole creates the pipe for the guest's output, and returns the guest's
// end.
func (t *task) openConsole() (*os.File, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("create the console pipe: %w", err)
	}
	t.console.in = pipe[0]
	if err := unix.SetNonblock(pipe[0], true); err != nil {
		return nil, fmt.Errorf("create the console pipe: %w", err)
	}
	return t.giveToGuest(pipe[1], "console"), nil
}

func readImage(kernel *os.File) (*unikernel.Info, error) {
	info, err := kernel.Stat()
	if err != nil {
		return nil, fmt.Errorf("get the size of the kernel: %w", err)
	}
	image, err := unikernel.Read(kernel, info.Size())
	if err != nil {
		return nil, fmt.Errorf("read the kernel: %w", err)
	}
	return image, nil
}

// tenderDevice converts a device to the tender's type, and fills in defaults.
func tenderDevice(d Device, f *os.File) (tender.Device, error) {
	out := tender.Device{
		Name: d.Name, Type: d.Type, File: f, MAC: d.MAC, MTU: d.MTU,
		Capacity: d.Capacity, BlockSize: d.BlockSize, MaxTransfer: d.MaxTransfer, Flush: d.Flush,
	}
	if d.Control {
		// The control device carries no Ethernet frames, but the ABI requires these.
		out.MAC, out.MTU = [6]byte{2, 0, 0, 0, 0, 1}, unikernel.MaxMTU
	}
	if d.Type != unikernel.Block {
		return out, nil
	}
	if out.BlockSize == 0 {
		out.BlockSize = tender.MinBlockSize
	}
	if out.Capacity == 0 {
		size, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return out, fmt.Errorf("get the size of block device %q: %w", d.Name, err)
		}
		out.Capacity = uint64(size) - uint64(size)%uint64(out.BlockSize)
	}
	return out, nil
}

// finishStart completes the start once the guest runs.
func (t *task) finishStart() error {
	var err error
	if t.guestID, err = FindProcess(t.guest.Pid); errors.Is(err, ErrGone) {
		// The guest has already ended; serve will notice.
		t.guestID, err = Process{Pid: t.guest.Pid, BootID: t.self.BootID}, nil
	}
	if err != nil {
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
	if t.signals, err = catchSignals(); err != nil {
		return err
	}
	return dropPrivileges()
}
