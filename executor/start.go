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

	"github.com/lkl-nomad/nomad-driver-lkl/executor/cgroup"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/atomicfile"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/tender/spt"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// exitReserve is the space kept for the exit status on disk, in bytes.
const exitReserve = 4096

// start carries out a plan up to the running guest. What it takes before an
// error is the process's own and goes with it.
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
	if err := t.settle(); err != nil {
		// The guest runs by now. It ends with this process in any case.
		_ = t.guest.Signal(unix.SIGKILL)
		_, _ = t.guest.Wait()
		return nil, err
	}
	plan.CommandLine = ""
	return t, nil
}

// register writes down who works here, so that whoever finds the directory
// finds the process.
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
	return t.identify()
}

func (t *task) identify() error {
	return t.dir.write(IdentityFile, Identity{
		Version: Version, Task: t.plan.Task, Executor: t.self, Guest: t.who, UID: t.uid,
	})
}

// openOutputs makes the task's stderr this process's, and the console.
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
	group, err := t.plan.Cgroup.Open()
	if err != nil {
		return err
	}
	t.group = group
	if err := group.Create(); err != nil {
		return fmt.Errorf("limit the task: %w", err)
	}
	// Restarts of a task share the group, and its count.
	if m, err := group.Memory(); err == nil {
		t.oomKills = m.OOMKills
	}
	return group.Enter()
}

func (t *task) listen() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make the socket: %w", err)
	}
	// By the directory's descriptor, since an address has room for 107 bytes.
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

// startGuest starts the tender. The guest inherits the limits of this thread.
func (t *task) startGuest(files int) error {
	if err := harden(); err != nil {
		return err
	}
	for i := range files {
		t.lend(firstFile+i, "file "+strconv.Itoa(i))
	}
	defer t.takeBack()
	guest, err := t.assemble(t.lent)
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

// lend has a descriptor be one that is for the guest alone.
func (t *task) lend(fd int, name string) *os.File {
	f := os.NewFile(uintptr(fd), name)
	t.lent = append(t.lent, f)
	return f
}

// takeBack closes what is for the guest: it has it by now, or never will.
func (t *task) takeBack() {
	for _, f := range t.lent {
		_ = f.Close()
	}
	t.lent = nil
}

// assemble makes what the tender takes out of the plan and its files.
func (t *task) assemble(files []*os.File) (*tender.Guest, error) {
	kernel := files[t.plan.KernelFD]
	image, err := readImage(kernel)
	if err != nil {
		return nil, err
	}
	g := &tender.Guest{
		Kernel: kernel, Image: image, Memory: t.plan.Memory,
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
		device, err := attach(d, f)
		if err != nil {
			return nil, err
		}
		g.Devices = append(g.Devices, device)
	}
	g.Console, err = t.openConsole()
	return g, err
}

// openConsole makes the pipe of the guest's output and returns its end.
func (t *task) openConsole() (*os.File, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make the console's pipe: %w", err)
	}
	t.console.in = pipe[0]
	if err := unix.SetNonblock(pipe[0], true); err != nil {
		return nil, fmt.Errorf("make the console's pipe: %w", err)
	}
	return t.lend(pipe[1], "console"), nil
}

func readImage(kernel *os.File) (*unikernel.Info, error) {
	info, err := kernel.Stat()
	if err != nil {
		return nil, fmt.Errorf("size of the kernel: %w", err)
	}
	image, err := unikernel.Read(kernel, info.Size())
	if err != nil {
		return nil, fmt.Errorf("read the kernel: %w", err)
	}
	return image, nil
}

// attach fills in what a plan may leave open.
func attach(d Device, f *os.File) (tender.Device, error) {
	out := tender.Device{
		Name: d.Name, Type: d.Type, File: f, MAC: d.MAC, MTU: d.MTU,
		Capacity: d.Capacity, BlockSize: d.BlockSize, MaxTransfer: d.MaxTransfer, Flush: d.Flush,
	}
	if d.Control {
		// No frame of Ethernet ever goes over it, but the ABI asks for these.
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
			return out, fmt.Errorf("size of block device %q: %w", d.Name, err)
		}
		out.Capacity = uint64(size) - uint64(size)%uint64(out.BlockSize)
	}
	return out, nil
}

// settle does what is left to do once the guest runs.
func (t *task) settle() error {
	var err error
	if t.who, err = FindProcess(t.guest.Pid); errors.Is(err, ErrGone) {
		// It has ended already, which serve finds out.
		t.who, err = Process{Pid: t.guest.Pid, BootID: t.self.BootID}, nil
	}
	if err != nil {
		return err
	}
	if t.pidfd, err = unix.PidfdOpen(t.guest.Pid, 0); err != nil {
		return fmt.Errorf("pidfd_open the guest: %w", err)
	}
	if err := t.identify(); err != nil {
		return err
	}
	if err := t.group.Release(); err != nil {
		return err
	}
	if t.signals, err = catchSignals(); err != nil {
		return err
	}
	return drop()
}

// cgroupMemory is the task's memory, or zero where nothing counts it.
func (t *task) cgroupMemory() cgroup.Memory {
	m, err := t.group.Memory()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.say("read the memory cgroup: %v", err)
	}
	return m
}
