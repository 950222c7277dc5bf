// SPDX-License-Identifier: MPL-2.0

package cli

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

// openInterface opens the tap of that name, or takes over an open file descriptor
// if the name is "@" and a number. It also returns the MTU in bytes.
func openInterface(name string, offload bool) (*os.File, uint16, error) {
	if number, isDescriptor := strings.CutPrefix(name, "@"); isDescriptor {
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
		return nil, 0, fmt.Errorf("%q must be the number of an open file descriptor", number)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return nil, 0, fmt.Errorf("file descriptor %d: %w", fd, err)
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
	if err == nil {
		err = checkTap(request.Uint16(), offload)
	}
	if err == nil {
		err = network.SetOffload(int(fd), offload)
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("file descriptor %d: %w", fd, err), f.Close())
	}
	return f, interfaceMTU(request.Name()), nil
}

// checkTap checks the flags of a tun device. It cannot check IFF_NO_PI, which the
// guest needs too: TUNGETIFF returns that bit with another meaning (IFF_NOFILTER).
func checkTap(flags uint16, offload bool) error {
	if flags&unix.IFF_TAP == 0 {
		return errors.New("must be a tap (IFF_TAP): a tun has no Ethernet frames")
	}
	if (flags&unix.IFF_VNET_HDR != 0) != offload {
		return errors.New("--net-offload requires a tap that is open with IFF_VNET_HDR, and a tap without --net-offload must be open without it")
	}
	return nil
}

// interfaceMTU returns the MTU of an interface. For an interface in another network
// namespace, it returns the MTU of Ethernet.
func interfaceMTU(name string) uint16 {
	if tap, err := net.InterfaceByName(name); err == nil {
		return uint16(min(tap.MTU, math.MaxUint16))
	}
	return unikernel.MaxMTU
}
