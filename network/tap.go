// SPDX-License-Identifier: MPL-2.0

package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// How a tap gets its name: the kernel puts in the first number that is free.
const tapPattern = "lkl%d"

// OpenTap attaches to a tap of the current namespace that exists already and is
// up, and reads its MTU in bytes and its hardware address. The file is O_NONBLOCK.
func OpenTap(name string) (tap *os.File, mtu int, mac net.HardwareAddr, err error) {
	link, err := net.InterfaceByName(name) // opening would make it
	if err != nil {
		return nil, 0, nil, fmt.Errorf("tap %s: %w", name, err)
	}
	if link.Flags&net.FlagUp == 0 {
		return nil, 0, nil, fmt.Errorf("tap %s: %w: ip link set %s up", name, unix.ENETDOWN, name)
	}
	tap, _, err = openTun(name, 0)
	return tap, link.MTU, link.HardwareAddr, err
}

// openTun attaches to the tap of a name, or makes one, and returns its true name.
func openTun(name string, flags uint16) (*os.File, string, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, "", fmt.Errorf("tap %s: TUNSETIFF: %w", name, err)
	}
	// As it is O_NONBLOCK already, os leaves that alone.
	return os.NewFile(uintptr(fd), request.Name()), request.Name(), nil
}

// newTap makes a tap that the namespace's own stack says nothing on, and brings it
// up. Closing the file removes it.
func (n *namespace) newTap(mtu int) (_ *os.File, _ netlink.Link, err error) {
	f, name, err := openTun(tapPattern, unix.IFF_TUN_EXCL)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	link, err := n.setUp(f, name, mtu)
	if err != nil {
		return nil, nil, fmt.Errorf("tap %s: %w", name, err)
	}
	return f, link, nil
}

func (n *namespace) setUp(f *os.File, name string, mtu int) (netlink.Link, error) {
	// Without offloads the kernel cuts what is sent in one piece on the host into
	// frames and fills in their checksums, before it gives them to us.
	if err := unix.IoctlSetInt(int(f.Fd()), unix.TUNSETOFFLOAD, 0); err != nil {
		return nil, fmt.Errorf("TUNSETOFFLOAD: %w", err)
	}
	if err := withoutIPv6(name); err != nil {
		return nil, err
	}
	link, err := n.LinkByName(name)
	if err != nil {
		return nil, err
	}
	if err := n.LinkSetMTU(link, mtu); err != nil {
		return nil, fmt.Errorf("set the MTU to %d: %w", mtu, err)
	}
	if err := n.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("bring it up: %w", err)
	}
	return link, nil
}

// withoutIPv6 keeps the namespace from soliciting neighbours and routers on the
// tap. It has to run inside of the namespace.
func withoutIPv6(name string) error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the kernel has no IPv6
	}
	return err
}
