// SPDX-License-Identifier: MPL-2.0

package tender

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/problems"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/cmdline"
)

const (
	// MinBlockSize is the smallest block size of Solo5, in bytes. It is also the
	// size of a sector in Linux.
	MinBlockSize = 512
	// LargestTransfer is the maximum of Device.MaxTransfer, in bytes.
	LargestTransfer = 1 << 20
	// minMTU is the minimum MTU of IPv4 (RFC 791).
	minMTU = 68
)

// ErrGuest is wrapped by every error of Guest.Check.
var ErrGuest = errors.New("guest cannot run")

// Check reports every mistake in a guest. It reads the sizes and flags of the
// devices' files and changes nothing.
func (g *Guest) Check() error {
	if g.Info == nil || g.Kernel == nil || g.Console == nil {
		return fmt.Errorf("%w: kernel, info and console are all needed", ErrGuest)
	}
	var list problems.List
	g.checkMemory(&list)
	g.checkCommandLine(&list)
	for _, d := range g.Info.Manifest {
		if _, ok := g.Device(d.Name); !ok {
			list.Addf("", "the unikernel declares a %s device %q, which is not attached", d.Type, d.Name)
		}
	}
	if n := len(g.Devices); n > unikernel.MaxDevices {
		list.Addf("", "%d devices are attached, must be at most %d", n, unikernel.MaxDevices)
	}
	seen := make(map[string]bool, len(g.Devices))
	for i := range g.Devices {
		d := &g.Devices[i]
		field := fmt.Sprintf("device %q", d.Name)
		if seen[d.Name] {
			list.Addf(field, "attached twice")
			continue
		}
		seen[d.Name] = true
		if err := d.check(g.Info); err != nil {
			list.Addf(field, "%w", err)
		}
	}
	if err := list.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrGuest, err)
	}
	return nil
}

func (g *Guest) checkMemory(list *problems.List) {
	if g.Memory%unikernel.PageSize != 0 {
		list.Addf("", "memory of %d bytes is not a multiple of the page size, %d", g.Memory, unikernel.PageSize)
	}
	if err := g.Info.Fits(g.HeapEnd()); err != nil {
		list.Addf("", "%w", err)
	}
}

func (g *Guest) checkCommandLine(list *problems.List) {
	if n := len(g.CommandLine); n > cmdline.MaxLength {
		list.Addf("", "command line of %d bytes, must be at most %d", n, cmdline.MaxLength)
	}
	if strings.IndexByte(g.CommandLine, 0) >= 0 {
		list.Addf("", "command line contains a NUL")
	}
	if g.CommandLineFile != nil {
		g.checkCommandLineFile(list)
	}
}

func (g *Guest) checkCommandLineFile(list *problems.List) {
	info, err := g.CommandLineFile.Stat()
	switch {
	case err != nil:
		list.Addf("", "get the size of the command line: %w", err)
	case g.CommandLine != "":
		list.Addf("", "two command lines, one of them in a file")
	case !g.Info.LongCommandLine():
		list.Addf("", "command line of %d bytes in a file, but the unikernel lacks the feature commandline under spt", g.CommandLineSize)
	case g.CommandLineSize == 0 || g.CommandLineSize > cmdline.MaxLongLength:
		list.Addf("", "command line of %d bytes in a file, must be 1 to %d", g.CommandLineSize, cmdline.MaxLongLength)
	case uint64(info.Size()) != g.CommandLineSize:
		list.Addf("", "command line file of %d bytes instead of %d", info.Size(), g.CommandLineSize)
	}
}

func (d *Device) check(u *unikernel.Info) error {
	if err := u.CheckDevice(unikernel.Device{Name: d.Name, Type: d.Type}); err != nil {
		return err
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
		return fmt.Errorf("MAC address %x is a multicast address", d.MAC)
	case d.MTU < minMTU:
		return fmt.Errorf("MTU of %d bytes, must be at least %d", d.MTU, minMTU)
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
		return fmt.Errorf("capacity of %d bytes must be a multiple of the block size (%d bytes) below 8 EiB", d.Capacity, size)
	case uint64(d.MaxTransfer)%size != 0 || d.MaxTransfer > LargestTransfer:
		return fmt.Errorf("maximum transfer of %d bytes must be a multiple of %d, at most %d", d.MaxTransfer, size, LargestTransfer)
	}
	return nil
}

// checkFile refuses a file that the guest could extend. pwrite64 extends a file
// that is shorter than the capacity. It also extends a file that is open with
// O_APPEND, because Linux then ignores the offset (pwrite(2), BUGS).
func (d *Device) checkFile() error {
	size, err := d.File.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("find the size: %w", err)
	}
	if uint64(size) < d.Capacity {
		return fmt.Errorf("%s holds %d bytes, less than the capacity of %d", d.File.Name(), size, d.Capacity)
	}
	flags, err := statusFlags(d.File)
	if err != nil {
		return fmt.Errorf("read the flags of %s: %w", d.File.Name(), err)
	}
	if flags&unix.O_APPEND != 0 {
		return fmt.Errorf("%s is open for appending", d.File.Name())
	}
	return nil
}

// statusFlags returns a file's status flags (fcntl(2), F_GETFL). It uses
// SyscallConn because os.File.Fd can change one of them, O_NONBLOCK.
func statusFlags(f *os.File) (flags int, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := conn.Control(func(fd uintptr) { flags, err = unix.FcntlInt(fd, unix.F_GETFL, 0) })
	return flags, errors.Join(controlErr, err)
}
