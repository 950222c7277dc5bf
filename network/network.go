// SPDX-License-Identifier: MPL-2.0

// Package network turns the network of an allocation into a tap for its guest.
package network

import (
	"errors"
	"net"
	"net/netip"
	"os"
)

var (
	// ErrNoNamespace: the path of the network namespace leads to none.
	ErrNoNamespace = errors.New("no such network namespace")
	// ErrNoInterface: no interface of the namespace can be the allocation's.
	ErrNoInterface = errors.New("no usable interface in the network namespace")
	// ErrTaken: another guest already holds the allocation's address.
	ErrTaken = errors.New("another unikernel of this group already has the allocation's network")
	// ErrNoRedirect: the kernel cannot join two interfaces.
	ErrNoRedirect = errors.New("the kernel cannot redirect between interfaces")
)

// Interface is the allocation's interface as found in its namespace.
type Interface struct {
	Name      string
	MAC       net.HardwareAddr
	MTU       int // bytes, as set on the interface
	Addresses []netip.Prefix
	Gateway4  netip.Addr // of the default route; the zero Addr: none
	Gateway6  netip.Addr
	Routes    []Route // all others but those of the interface's own subnets
}

// Route is one route through the interface.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr // the zero Addr: on the link
}

// Tap is the guest's end.
type Tap struct {
	File      *os.File
	Name      string
	MAC       net.HardwareAddr // for the guest
	MTU       int              // bytes, for the guest: at most 1500
	Interface *Interface
}

var errTodo = errors.New("network: not written yet")

func Inspect(netns string) (*Interface, error) { return nil, errTodo }
func AttachL2(netns string) (*Tap, error)      { return nil, errTodo }
func (t *Tap) Close() error                    { return t.File.Close() }
func Detach(netns, tap string) error           { return errTodo }
func OpenTap(name string) (tap *os.File, mtu int, mac net.HardwareAddr, err error) {
	return nil, 0, nil, errTodo
}
