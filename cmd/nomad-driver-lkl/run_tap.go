// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/network"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
)

// defaultMTU is that of Ethernet, for descriptors that are no tap of this
// network namespace.
const defaultMTU = 1500

// openInterface opens a tap by its name, or takes one that is open already: @
// and the descriptor. The MTU is the interface's, in bytes.
func openInterface(name string) (*os.File, uint16, error) {
	number, isOpen := strings.CutPrefix(name, "@")
	if isOpen {
		return openDescriptor(number)
	}
	f, mtu, _, err := network.OpenTap(name)
	if err != nil {
		return nil, 0, err
	}
	fd, err := tender.FD(f)
	if err == nil {
		err = wholeFrames(fd)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, uint16(min(mtu, math.MaxUint16)), nil
}

func openDescriptor(number string) (*os.File, uint16, error) {
	fd, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return nil, 0, errors.New("want @ and the number of an open descriptor")
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return nil, 0, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	unix.CloseOnExec(int(fd))
	f := os.NewFile(uintptr(fd), "descriptor "+number)
	name, isTap := tapName(int(fd))
	if !isTap { // a socket
		return f, defaultMTU, nil
	}
	if err := wholeFrames(int(fd)); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, mtuOf(name), nil
}

// tapName is the name of the interface that is open as fd.
func tapName(fd int) (name string, isTap bool) {
	request, err := unix.NewIfreq("")
	if err != nil || unix.IoctlIfreq(fd, unix.TUNGETIFF, request) != nil {
		return "", false
	}
	return request.Name(), true
}

// mtuOf is an interface's MTU, and the default for one that is in another
// network namespace.
func mtuOf(name string) uint16 {
	if tap, err := net.InterfaceByName(name); err == nil {
		return uint16(min(tap.MTU, math.MaxUint16))
	}
	return defaultMTU
}

// wholeFrames has the kernel give out frames no larger than the MTU, with their
// checksums, whatever another program asked of the tap before.
func wholeFrames(fd int) error {
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, 0); err != nil {
		return fmt.Errorf("TUNSETOFFLOAD: %w", err)
	}
	return nil
}
