// SPDX-License-Identifier: MPL-2.0

package tender

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/cmdline"
)

const (
	// MinBlockSize is the smallest block that Solo5 knows, in bytes.
	MinBlockSize = 512
	// LargestTransfer bounds Device.MaxTransfer, in bytes.
	LargestTransfer = 1 << 20
	// minMTU is the smallest MTU that IPv4 allows (RFC 791).
	minMTU = 68
)

// ErrGuest is what every error of Guest.Check wraps.
var ErrGuest = errors.New("guest cannot run")

// Device finds an attached device by its name.
func (g *Guest) Device(name string) (*Device, bool) {
	for i := range g.Devices {
		if g.Devices[i].Name == name {
			return &g.Devices[i], true
		}
	}
	return nil, false
}

// Check finds every mistake in what the guest is to run on. It asks for the
// size of block devices; it changes nothing.
func (g *Guest) Check() error {
	if g.Image == nil || g.Kernel == nil || g.Console == nil {
		return fmt.Errorf("%w: kernel, image and console are all needed", ErrGuest)
	}
	mistakes := []error{g.checkMemory(), g.checkCommandLine()}
	for _, d := range g.Image.Manifest {
		if _, ok := g.Device(d.Name); !ok {
			mistakes = append(mistakes, fmt.Errorf(
				"%s device %q is declared by the unikernel but not attached", d.Type, d.Name))
		}
	}
	seen := make(map[string]bool, len(g.Devices))
	for i := range g.Devices {
		d := &g.Devices[i]
		if seen[d.Name] {
			mistakes = append(mistakes, fmt.Errorf("device %q is attached twice", d.Name))
			continue
		}
		seen[d.Name] = true
		if err := d.check(g.Image); err != nil {
			mistakes = append(mistakes, fmt.Errorf("device %q: %w", d.Name, err))
		}
	}
	if err := errors.Join(mistakes...); err != nil {
		return fmt.Errorf("%w: %w", ErrGuest, err)
	}
	return nil
}

func (g *Guest) checkMemory() error {
	if g.Memory%unikernel.PageSize != 0 {
		return fmt.Errorf("memory of %d bytes is not a whole number of pages", g.Memory)
	}
	return g.Image.Fits(g.Memory)
}

func (g *Guest) checkCommandLine() error {
	if n := len(g.CommandLine); n > cmdline.MaxLength {
		return fmt.Errorf("command line of %d bytes: the guest takes at most %d", n, cmdline.MaxLength)
	}
	if strings.IndexByte(g.CommandLine, 0) >= 0 {
		return errors.New("command line contains a zero byte")
	}
	return nil
}

func (d *Device) check(m *unikernel.Info) error {
	declared, ok := m.Device(d.Name)
	if !ok {
		return errors.New("not declared by the unikernel")
	}
	if declared.Type != d.Type {
		return fmt.Errorf("declared as %s, attached as %s", declared.Type, d.Type)
	}
	if d.File == nil {
		return errors.New("no file")
	}
	if d.Type == unikernel.Net {
		return d.checkNet()
	}
	if err := d.checkGeometry(); err != nil {
		return err
	}
	return d.checkFile()
}

func (d *Device) checkNet() error {
	switch {
	case d.MAC == [6]byte{}:
		return errors.New("no MAC address")
	case d.MAC[0]&1 != 0:
		return fmt.Errorf("MAC address %x is that of a group", d.MAC)
	case d.MTU < minMTU:
		return fmt.Errorf("MTU of %d bytes, less than %d", d.MTU, minMTU)
	}
	return nil
}

func (d *Device) checkGeometry() error {
	size := uint64(d.BlockSize)
	switch {
	case size < MinBlockSize || size&(size-1) != 0:
		return fmt.Errorf("block size of %d bytes is not a power of two of at least %d", size, MinBlockSize)
	case d.Capacity < size:
		return fmt.Errorf("capacity of %d bytes is less than one block (%d bytes)", d.Capacity, size)
	case d.Capacity%size != 0 || d.Capacity > math.MaxInt64:
		return fmt.Errorf("capacity of %d bytes is no multiple of the block size (%d bytes)", d.Capacity, size)
	case uint64(d.MaxTransfer)%size != 0 || d.MaxTransfer > LargestTransfer:
		return fmt.Errorf("transfers of %d bytes: want a multiple of %d, at most %d", d.MaxTransfer, size, LargestTransfer)
	}
	return nil
}

// checkFile refuses a file that the guest could make longer: one that is
// shorter than the capacity, or one that is written at its end whatever offset
// the guest names.
func (d *Device) checkFile() error {
	size, err := d.File.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("telling its size: %w", err)
	}
	if uint64(size) < d.Capacity {
		return fmt.Errorf("%s holds %d bytes, less than the capacity of %d", d.File.Name(), size, d.Capacity)
	}
	flags, err := Flags(d.File)
	if err != nil {
		return err
	}
	if flags&unix.O_APPEND != 0 {
		return fmt.Errorf("%s is open for appending", d.File.Name())
	}
	return nil
}
