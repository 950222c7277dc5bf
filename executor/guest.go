// SPDX-License-Identifier: MPL-2.0

package executor

import (
	"fmt"
	"io"
	"os"

	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

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
	info, err := readKernelInfo(kernel)
	if err != nil {
		return nil, err
	}
	g := &tender.Guest{
		Kernel: kernel, Info: info, Memory: t.plan.Memory,
		CommandLine: t.plan.CommandLine, ExecHeap: t.plan.ExecHeap, HugePages: t.plan.HugePages,
	}
	if fd := t.plan.CommandLineFD; fd != nil {
		if err := useCommandLineFile(g, files[*fd]); err != nil {
			return nil, err
		}
	}
	for _, d := range t.plan.Devices {
		var f *os.File
		switch {
		case d.Control:
			f, err = t.openControl()
		case d.Files:
			f, err = t.startFileServer()
		default:
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
	return g, t.openOutputs(g)
}

// useCommandLineFile passes a long command line on to the tender. The executor does not
// read it, which saves memory.
func useCommandLineFile(g *tender.Guest, f *os.File) error {
	stat, err := f.Stat()
	if err != nil {
		return fmt.Errorf("get the size of the command line: %w", err)
	}
	g.CommandLineFile, g.CommandLineSize = f, uint64(stat.Size())
	return nil
}

// openOutputs creates the pipes for the guest's output.
func (t *task) openOutputs(g *tender.Guest) (err error) {
	if g.Console, err = t.outputs.stdout.openPipe(); err != nil {
		return err
	}
	t.guestFiles = append(t.guestFiles, g.Console)
	if !t.plan.SeparateStderr {
		return nil
	}
	if g.Stderr, err = t.outputs.stderr.openPipe(); err != nil {
		return err
	}
	t.guestFiles = append(t.guestFiles, g.Stderr)
	return nil
}

func readKernelInfo(kernel *os.File) (*unikernel.Info, error) {
	stat, err := kernel.Stat()
	if err != nil {
		return nil, fmt.Errorf("get the size of the kernel: %w", err)
	}
	info, err := unikernel.Read(kernel, stat.Size())
	if err != nil {
		return nil, fmt.Errorf("read the kernel: %w", err)
	}
	return info, nil
}

// tenderDevice converts a device to the tender's type, and fills in defaults.
func tenderDevice(d Device, f *os.File) (tender.Device, error) {
	out := tender.Device{
		Name: d.Name, Type: d.Type, File: f, MAC: d.MAC, MTU: d.MTU,
		Capacity: d.Capacity, BlockSize: d.BlockSize, MaxTransfer: d.MaxTransfer, Flush: d.Flush,
	}
	if d.Control || d.Files {
		// These devices carry no Ethernet frames, but the ABI requires both.
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
