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
)

// defaultMTU is that of Ethernet, for descriptors that are no tap of this
// network namespace.
const defaultMTU = 1500

// openInterface opens a tap by its name, or takes one that is open already: @
// and the descriptor. The MTU is the interface's.
func openInterface(name string) (*os.File, uint16, error) {
	number, isOpen := strings.CutPrefix(name, "@")
	if !isOpen {
		return openTap(name)
	}
	fd, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return nil, 0, errors.New("want @ and the number of an open descriptor")
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return nil, 0, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	unix.CloseOnExec(int(fd))
	f := os.NewFile(uintptr(fd), name)
	return f, mtuOf(int(fd)), nil
}

// mtuOf asks for the MTU of the tap that is open as fd.
func mtuOf(fd int) uint16 {
	request, err := unix.NewIfreq("")
	if err != nil || unix.IoctlIfreq(fd, unix.TUNGETIFF, request) != nil {
		return defaultMTU
	}
	tap, err := net.InterfaceByName(request.Name())
	if err != nil || tap.MTU > math.MaxUint16 {
		return defaultMTU
	}
	return uint16(tap.MTU)
}

// openTap attaches to an existing tap that is up.
func openTap(name string) (_ *os.File, mtu uint16, err error) {
	tap, err := net.InterfaceByName(name)
	if err != nil {
		return nil, 0, err
	}
	if tap.Flags&net.FlagUp == 0 {
		return nil, 0, fmt.Errorf("%w: bring it up: ip link set %s up", unix.ENETDOWN, name)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, 0, err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("TUNSETIFF: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), uint16(min(tap.MTU, math.MaxUint16)), nil
}
