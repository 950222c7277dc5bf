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
// up (unix.ENETDOWN: it is not), and reads its MTU in bytes. The file is O_NONBLOCK;
// with offload it has what SetOffload says, else frames without any header.
func OpenTap(name string, offload bool) (tap *os.File, mtu int, err error) {
	link, err := net.InterfaceByName(name) // opening would make it
	if err != nil {
		return nil, 0, fmt.Errorf("tap %s: %w", name, err)
	}
	if link.Flags&net.FlagUp == 0 {
		return nil, 0, fmt.Errorf("tap %s: %w: run ip link set %s up", name, unix.ENETDOWN, name)
	}
	tap, _, err = openTun(name, 0, offload)
	return tap, link.MTU, err
}

// vnetHeader is the size of the header before each frame, in bytes: that of
// struct virtio_net_hdr in linux/virtio_net.h.
const vnetHeader = 10

// SetOffload has the kernel give out what is sent on the host as it is: a virtio
// header, which tells of checksums that are missing, and up to 64 KiB of TCP. The
// tap has to be open with IFF_VNET_HDR. Without offload the kernel computes
// checksums and cuts what is longer than the MTU into frames, whatever another
// program asked of the tap before.
func SetOffload(fd int, offload bool) error {
	flags := 0
	if offload {
		flags = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
		if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, vnetHeader); err != nil {
			return fmt.Errorf("TUNSETVNETHDRSZ: %w", err)
		}
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags); err != nil {
		return fmt.Errorf("TUNSETOFFLOAD: %w", err)
	}
	return nil
}

// openTun attaches to the tap of a name, or makes one, and returns its true name.
func openTun(name string, flags uint16, offload bool) (*os.File, string, error) {
	if offload {
		flags |= unix.IFF_VNET_HDR
	}
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
		err = fmt.Errorf("TUNSETIFF: %w", err)
	} else {
		err = SetOffload(fd, offload)
	}
	if err != nil {
		unix.Close(fd)
		return nil, "", fmt.Errorf("tap %s: %w", name, err)
	}
	// As it is O_NONBLOCK already, os leaves that alone.
	return os.NewFile(uintptr(fd), request.Name()), request.Name(), nil
}

// newTap makes a tap that the namespace's own stack says nothing on, and brings it
// up. Closing the file removes it.
func (n *namespace) newTap(mtu int, offload bool) (_ *os.File, _ netlink.Link, err error) {
	f, name, err := openTun(tapPattern, unix.IFF_TUN_EXCL, offload)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	link, err := n.setUp(name, mtu, offload)
	if err != nil {
		return nil, nil, fmt.Errorf("tap %s: %w", name, err)
	}
	return f, link, nil
}

// offloadQueue is how many frames wait for a guest with offloads, of up to 64 KiB
// each: some 8 MiB. They are the host's memory, which no limit of a task counts.
const offloadQueue = 128

func (n *namespace) setUp(name string, mtu int, offload bool) (netlink.Link, error) {
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
	if offload {
		if err := n.LinkSetTxQLen(link, offloadQueue); err != nil {
			return nil, fmt.Errorf("set the length of its queue to %d: %w", offloadQueue, err)
		}
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
