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
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

// openInterface opens a tap by its name, or takes one that is open already: @
// and the descriptor. The MTU is the interface's, in bytes.
func openInterface(name string, offload bool) (*os.File, uint16, error) {
	number, isOpen := strings.CutPrefix(name, "@")
	if isOpen {
		return openDescriptor(number, offload)
	}
	f, mtu, err := network.OpenTap(name, offload)
	if err != nil {
		return nil, 0, err
	}
	return f, uint16(min(mtu, math.MaxUint16)), nil
}

func openDescriptor(number string, offload bool) (*os.File, uint16, error) {
	fd, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return nil, 0, errors.New("want @ and the number of an open descriptor")
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return nil, 0, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	unix.CloseOnExec(int(fd))
	f := os.NewFile(uintptr(fd), "descriptor "+number)
	request, err := unix.NewIfreq("")
	if err == nil {
		err = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, request)
	}
	if err != nil && !offload { // a socket
		return f, unikernel.MaxMTU, nil
	}
	if err == nil && request.Uint16()&unix.IFF_TAP == 0 {
		err = errNotEthernet
	}
	if err == nil && (request.Uint16()&unix.IFF_VNET_HDR != 0) != offload {
		err = errHeaders
	}
	if err == nil {
		err = network.SetOffload(int(fd), offload)
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("descriptor %d: %w", fd, err), f.Close())
	}
	return f, mtuOf(request.Name()), nil
}

// Whether it is open with IFF_NO_PI, as it has to be, the kernel does not tell: that bit of its answer means IFF_NOFILTER too.
var errNotEthernet = errors.New("want a tap (IFF_TAP): a tun has no Ethernet frames")

// errHeaders: every frame would have to be changed on its way.
var errHeaders = errors.New("a tap that is open with IFF_VNET_HDR needs --net-offload, and the other way round")

// mtuOf returns the MTU of an interface, or the largest that a guest accepts if
// the interface is in another network namespace.
func mtuOf(name string) uint16 {
	if tap, err := net.InterfaceByName(name); err == nil {
		return uint16(min(tap.MTU, math.MaxUint16))
	}
	return unikernel.MaxMTU
}
