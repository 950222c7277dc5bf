// SPDX-License-Identifier: MPL-2.0

package spt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// The launcher writes readyByte to the status pipe when only the filter is
// missing. A failed step writes a report of reportSize bytes instead: its index and
// its result.
const (
	readyByte  = 1
	reportSize = 16
)

// ErrNotStarted means that the guest's process ended before the guest's first
// instruction.
var ErrNotStarted = errors.New("guest not started")

// Start starts a guest in a new process. It returns when the guest's first
// instruction is about to run, or with the error of the step that failed; then the
// process is gone. In both cases the caller may close its files of g.
//
// With j.DieWithParent the guest dies with the calling thread. The caller must be
// locked to this thread (runtime.LockOSThread) for the guest's life.
func Start(g *tender.Guest, j tender.Jail) (*Process, error) {
	if err := check(g, j); err != nil {
		return nil, err
	}
	devices := manifestOrder(g)
	canMapCode, err := canMapCode(g.Kernel)
	if err != nil {
		return nil, err
	}
	l, err := newLaunch(g, j, devices, canMapCode)
	if err != nil {
		return nil, err
	}
	return l.start(g, devices, j.NewSession)
}

// manifestOrder returns the guest's devices in the order of the manifest in its memory:
// those of the file's manifest, and then the others.
func manifestOrder(g *tender.Guest) []tender.Device {
	devices := make([]tender.Device, 0, len(g.Devices))
	for _, declared := range g.Info.Manifest {
		if d, ok := g.Device(declared.Name); ok {
			devices = append(devices, *d)
		}
	}
	for _, d := range g.Devices {
		if _, declared := g.Info.Device(d.Name); !declared {
			devices = append(devices, d)
		}
	}
	return devices
}

func (l *launch) start(g *tender.Guest, devices []tender.Device, newSession bool) (*Process, error) {
	f, err := openFiles(g, devices, l)
	if err != nil {
		return nil, err
	}
	defer f.close()
	pid, err := execLauncher(f.inherited, newSession)
	runtime.KeepAlive(g)
	if err != nil {
		return nil, err
	}
	if err := f.closeStatusWriter(); err != nil {
		return nil, errors.Join(err, killAndReap(pid))
	}
	if err := l.waitReady(pid, f.statusReader); err != nil {
		return nil, err
	}
	return &Process{Pid: pid}, nil
}

func check(g *tender.Guest, j tender.Jail) error {
	if err := g.Check(); err != nil {
		return err
	}
	if g.Info.Target != unikernel.TargetSPT {
		return fmt.Errorf("the unikernel is linked for the target %s, but the spt tender runs only spt: link it with the spt bindings",
			g.Info.Target)
	}
	if g.Memory >= launcherBase {
		return fmt.Errorf("guest memory of %d bytes: it must have at most %d", g.Memory, uint64(launcherBase-pageSize))
	}
	if err := checkKernelSize(g); err != nil {
		return err
	}
	return checkJail(j)
}

// checkKernelSize refuses a kernel file that became shorter after its headers were
// read: access to mapped pages beyond the end of a file raises SIGBUS (mmap(2)).
func checkKernelSize(g *tender.Guest) error {
	info, err := g.Kernel.Stat()
	if err != nil {
		return fmt.Errorf("stat the kernel: %w", err)
	}
	for i, s := range g.Info.Segments {
		if s.Offset+s.FileSize > uint64(info.Size()) {
			return fmt.Errorf("%s has changed since its headers were read: segment %d extends beyond its end at %d",
				g.Kernel.Name(), i, info.Size())
		}
	}
	return nil
}

// execLauncher starts the launcher, which is the last of the descriptors. The child
// has exactly these descriptors, numbered from 0; -1 stands for a closed one.
func execLauncher(descriptors []int, newSession bool) (int, error) {
	inherited := make([]uintptr, len(descriptors))
	for i, fd := range descriptors {
		inherited[i] = uintptr(fd)
	}
	launcher := "/proc/self/fd/" + strconv.Itoa(len(descriptors)-1)
	pid, err := syscall.ForkExec(launcher, []string{"spt-guest"}, &syscall.ProcAttr{
		Env:   []string{}, // nil would pass this process's environment
		Files: inherited,
		Sys:   &syscall.SysProcAttr{Setsid: newSession},
	})
	if err != nil {
		return 0, fmt.Errorf("execute the launcher (a memfd, through /proc): %w", err)
	}
	return pid, nil
}

// waitReady waits for the launcher's report. It reaps a process that failed.
func (l *launch) waitReady(pid, statusReader int) error {
	// A failure after readyByte would make the report one byte longer.
	report, err := readAll(statusReader, 2*reportSize)
	if err == nil && len(report) == 1 && report[0] == readyByte {
		return nil
	}
	if err != nil {
		return errors.Join(fmt.Errorf("read the launcher's report: %w", err), killAndReap(pid))
	}
	exit, err := reap(pid)
	if err != nil {
		return err
	}
	if len(report) < reportSize {
		return fmt.Errorf("%w: launcher %s", ErrNotStarted, exit.Reason())
	}
	report = report[len(report)-reportSize:]
	index := binary.LittleEndian.Uint64(report)
	if index >= uint64(len(l.steps)) {
		return fmt.Errorf("%w: launcher reports step %d of %d", ErrNotStarted, index, len(l.steps))
	}
	return fmt.Errorf("%w: %w", ErrNotStarted, l.steps[index].failure(binary.LittleEndian.Uint64(report[8:])))
}

// killAndReap ends a process that may or may not have become the guest.
func killAndReap(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	_, err := reap(pid)
	return err
}

// readAll reads at most size bytes, until the writer closes the pipe.
func readAll(fd, size int) ([]byte, error) {
	buffer := make([]byte, size)
	filled := 0
	for filled < size {
		n, err := eintr.Retry(func() (int, error) { return unix.Read(fd, buffer[filled:]) })
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		filled += n
	}
	return buffer[:filled], nil
}
