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

// tapPattern is the name of a new tap. The kernel fills in the first free number.
const tapPattern = "lkl%d"

// OpenTap opens an existing tap of the current namespace and returns its MTU in bytes.
// The tap must be up, or else the error is unix.ENETDOWN. The file is O_NONBLOCK. With
// offload, frames are as SetOffload describes; otherwise they have no header.
func OpenTap(name string, offload bool) (tap *os.File, mtu int, err error) {
	link, err := net.InterfaceByName(name) // opening a missing tap would create it
	if failure := new(net.OpError); errors.As(err, &failure) {
		err = failure.Err // without "route ip+net"
	}
	if err != nil {
		return nil, 0, fmt.Errorf("tap %s: %w: to create it in this network namespace, run ip tuntap add %s mode tap",
			name, err, name)
	}
	if link.Flags&net.FlagUp == 0 {
		return nil, 0, fmt.Errorf("tap %s: %w: run ip link set %s up", name, unix.ENETDOWN, name)
	}
	tap, _, err = openTun(name, 0, offload)
	return tap, link.MTU, explainTap(err)
}

// explainTap adds the usual cause to the errors of TUNSETIFF for an existing
// interface.
func explainTap(err error) error {
	switch {
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: the interface must be a tap, without multi_queue", err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: another process uses the tap", err)
	}
	return err
}

// vnetHeaderSize is the size of the header before each frame, in bytes: that of
// struct virtio_net_hdr in linux/virtio_net.h.
const vnetHeaderSize = 10

// SetOffload enables or disables checksum and segmentation offload. With offload, the
// kernel passes packets of the host on unchanged: up to 64 KiB of TCP, behind a virtio
// header that describes missing checksums. The tap must be open with IFF_VNET_HDR.
// Without offload, the kernel computes checksums and segments packets to the MTU; a
// setting that an earlier user of the tap left is reset.
func SetOffload(fd int, offload bool) error {
	flags := 0
	if offload {
		flags = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
		if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, vnetHeaderSize); err != nil {
			return fmt.Errorf("TUNSETVNETHDRSZ: %w", err)
		}
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags); err != nil {
		return fmt.Errorf("TUNSETOFFLOAD: %w", err)
	}
	return nil
}

// openTun opens the tap of a name, creating it if it is missing. The name may be a
// pattern such as "lkl%d"; the result holds the actual name.
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
		if name == tapPattern {
			return nil, "", fmt.Errorf("create a tap: %w", err)
		}
		return nil, "", fmt.Errorf("tap %s: %w", name, err)
	}
	// The descriptor is O_NONBLOCK already, so package os does not change its flags.
	return os.NewFile(uintptr(fd), request.Name()), request.Name(), nil
}

// createTap creates a tap on which the namespace's own stack sends nothing, and brings
// it up. Closing the file removes the tap.
func (n *namespace) createTap(mtu int, offload bool) (_ *os.File, _ netlink.Link, err error) {
	f, name, err := openTun(tapPattern, unix.IFF_TUN_EXCL, offload)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	link, err := n.configureTap(name, mtu, offload)
	if err != nil {
		return nil, nil, fmt.Errorf("tap %s: %w", name, err)
	}
	return f, link, nil
}

// offloadQueueLen limits the frames that wait for a guest with offload. Each may have
// 64 KiB, 8 MiB in all, and this memory counts toward no cgroup limit of the task.
const offloadQueueLen = 128

func (n *namespace) configureTap(name string, mtu int, offload bool) (netlink.Link, error) {
	if err := disableIPv6(name); err != nil {
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
		if err := n.LinkSetTxQLen(link, offloadQueueLen); err != nil {
			return nil, fmt.Errorf("set its queue length to %d: %w", offloadQueueLen, err)
		}
	}
	if err := n.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("bring it up: %w", err)
	}
	return link, nil
}

// disableIPv6 prevents the namespace's stack from soliciting neighbors and routers on
// the tap. The calling thread must be in the namespace.
func disableIPv6(name string) error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the kernel has no IPv6
	}
	return err
}
