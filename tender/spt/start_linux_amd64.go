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

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// readyByte is what the launcher writes to the status pipe when only the
// filter is missing. A failed step writes reportSize bytes instead.
const (
	readyByte  = 1
	reportSize = 16
)

// ErrNotStarted is what an error of Start wraps when the guest's process was
// made but came to an end before the guest's first instruction.
var ErrNotStarted = errors.New("guest not started")

// Start runs a guest in a process of its own and returns when its first
// instruction is about to run, or with the error of the step that failed,
// after which nothing is left of it. The caller may close its files of g then.
//
// With j.DieWithParent the guest dies with the calling thread, so that the
// caller has to be locked to it (runtime.LockOSThread) for the guest's life.
func Start(g *tender.Guest, j tender.Jail) (*Process, error) {
	if err := check(g, j); err != nil {
		return nil, err
	}
	devices := inOrder(g)
	mayMapCode, err := mayMapCode(g.Kernel)
	if err != nil {
		return nil, err
	}
	p, err := newPlan(g, j, devices, mayMapCode)
	if err != nil {
		return nil, err
	}
	return p.launch(g, devices, j.NewSession)
}

// inOrder are the guest's devices in the manifest's order.
func inOrder(g *tender.Guest) []tender.Device {
	devices := make([]tender.Device, 0, len(g.Devices))
	for _, declared := range g.Image.Manifest {
		if d, ok := g.Device(declared.Name); ok {
			devices = append(devices, *d)
		}
	}
	return devices
}

func (p *plan) launch(g *tender.Guest, devices []tender.Device, newSession bool) (*Process, error) {
	f, err := openFiles(g, devices, p)
	if err != nil {
		return nil, err
	}
	defer f.close()
	pid, err := fork(f.inherited, newSession)
	runtime.KeepAlive(g)
	if err != nil {
		return nil, err
	}
	if err := f.closeStatusWriter(); err != nil {
		return nil, errors.Join(err, abandon(pid))
	}
	if err := p.await(pid, f.status); err != nil {
		return nil, err
	}
	return &Process{Pid: pid}, nil
}

func check(g *tender.Guest, j tender.Jail) error {
	if err := g.Check(); err != nil {
		return err
	}
	if g.Image.Target != unikernel.TargetSPT {
		return fmt.Errorf("unikernel is for target %s: the spt tender runs spt", g.Image.Target)
	}
	if g.Memory >= launcherBase {
		return fmt.Errorf("guest memory of %d bytes: at most %d", g.Memory, uint64(launcherBase-pageSize))
	}
	if err := checkKernel(g); err != nil {
		return err
	}
	return checkJail(j)
}

// checkKernel finds a file that became shorter since its headers were read:
// pages that are mapped from behind its end would fail much later.
func checkKernel(g *tender.Guest) error {
	info, err := g.Kernel.Stat()
	if err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	for i, s := range g.Image.Segments {
		if s.Offset+s.FileSize > uint64(info.Size()) {
			return fmt.Errorf("%s has changed since its headers were read: segment %d lies beyond its end at %d",
				g.Kernel.Name(), i, info.Size())
		}
	}
	return nil
}

// fork starts the launcher with just these descriptors, 0 and up; -1 is closed.
func fork(files []int, newSession bool) (int, error) {
	inherited := make([]uintptr, len(files))
	for i, fd := range files {
		inherited[i] = uintptr(fd)
	}
	launcher := "/proc/self/fd/" + strconv.Itoa(len(files)-1)
	pid, err := syscall.ForkExec(launcher, []string{"spt-guest"}, &syscall.ProcAttr{
		Env:   []string{}, // nil would be the tender's own
		Files: inherited,
		Sys:   &syscall.SysProcAttr{Setsid: newSession},
	})
	if err != nil {
		return 0, fmt.Errorf("executing the launcher (a memfd, through /proc): %w", err)
	}
	return pid, nil
}

// await reads the launcher's report and reaps the process that failed.
func (p *plan) await(pid, status int) error {
	report, err := readAll(status, 2*reportSize)
	if err == nil && len(report) == 1 && report[0] == readyByte {
		return nil
	}
	if err != nil {
		return errors.Join(fmt.Errorf("reading the launcher's report: %w", err), abandon(pid))
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
	if index >= uint64(len(p.steps)) {
		return fmt.Errorf("%w: launcher reports step %d of %d", ErrNotStarted, index, len(p.steps))
	}
	return fmt.Errorf("%w: %w", ErrNotStarted, p.steps[index].failure(binary.LittleEndian.Uint64(report[8:])))
}

// abandon kills and reaps a process of which nothing is known.
func abandon(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing process %d: %w", pid, err)
	}
	_, err := reap(pid)
	return err
}

// readAll reads up to most bytes until the other end is closed.
func readAll(fd, most int) ([]byte, error) {
	buffer := make([]byte, most)
	filled := 0
	for filled < most {
		n := 0
		err := retry(func() (err error) {
			n, err = unix.Read(fd, buffer[filled:])
			return err
		})
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
