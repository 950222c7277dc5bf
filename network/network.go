// SPDX-License-Identifier: MPL-2.0

// Package network turns the network of an allocation, a namespace that Nomad and
// CNI have made, into a tap for the guest.
package network

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
)

var (
	// ErrNoNamespace: there is no network namespace at the path.
	ErrNoNamespace = errors.New("no network namespace")
	// ErrNoInterface: none of the namespace's interfaces can be the allocation's.
	ErrNoInterface = errors.New("no interface that a guest can take over")
	// ErrTaken: a guest that runs has the allocation's network already.
	ErrTaken = errors.New("another unikernel of this group already has the allocation's network: " +
		"give each lkl task with a network a group of its own")
	// ErrForeign: somebody else controls what the interface receives.
	ErrForeign = errors.New("the interface has a traffic control of its own for what it receives: " +
		"remove the CNI plugin that sets it from the network's configuration")
	// ErrNoRedirect: the kernel cannot join two interfaces.
	ErrNoRedirect = errors.New("the kernel cannot redirect frames: " +
		"load the modules sch_ingress, cls_u32 and act_mirred")
)

// MaxMTU is the most that a guest's tap gets, in bytes: LKL guests of 2020 break
// on more.
const MaxMTU = 1500

// Interface is the allocation's interface as it is in its namespace.
type Interface struct {
	Name      string
	MAC       net.HardwareAddr
	MTU       int            // bytes
	Addresses []netip.Prefix // with the interface's own address, not that of the subnet; none of the link alone
	Gateway4  netip.Addr     // of the default route; the zero Addr: none
	Gateway6  netip.Addr
	Routes    []Route // all but the default ones and those to the interface's own subnets
}

// Route is a route through the interface.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr // the zero Addr: on the link
}

// Tap is the guest's end of the allocation's network. It is there as long as
// somebody has the file open.
type Tap struct {
	File      *os.File         // O_NONBLOCK
	Name      string           // in the allocation's namespace
	MAC       net.HardwareAddr // the guest's: that of the interface
	MTU       int              // the guest's, bytes: the interface's, at most MaxMTU
	Offload   bool             // frames have a virtio header and may be segments not yet cut: see SetOffload
	Interface *Interface
}

// Close closes our descriptor of the tap; the tap goes with the last one.
func (t *Tap) Close() error { return t.File.Close() }

// Inspect finds the interface of an allocation in the namespace at a path such as
// /var/run/netns/ID: the one with the default route, else the only one with an
// address that is not of the link alone. Errors: ErrNoNamespace, ErrNoInterface.
func Inspect(netns string) (*Interface, error) {
	var found *Interface
	err := inside(netns, func(n *namespace) (err error) {
		found, err = n.inspect()
		return err
	})
	return found, err
}

// Attaching looks before it takes, so that only one may do it at a time.
var attaching sync.Mutex

// AttachL2 makes a tap in an allocation's namespace and joins it to the
// interface: each gets every frame that the other receives, so that the guest has
// the interface's addresses on the link and the namespace's own stack is no longer
// heard from there. Offload is for guests that know it: see SetOffload. What a guest
// that is gone left behind is replaced. The caller closes the tap and, when the guest
// is gone, calls Detach. ErrTaken: a guest is running; ErrForeign, ErrNoRedirect, and
// those of Inspect.
func AttachL2(netns string, offload bool) (*Tap, error) {
	attaching.Lock()
	defer attaching.Unlock()
	var tap *Tap
	err := inside(netns, func(n *namespace) (err error) {
		tap, err = n.attach(offload)
		return err
	})
	return tap, err
}

// Detach gives the interface back to the namespace's own stack, if it is joined
// to the tap of that name or to one that is gone. A namespace that is gone needs
// nothing.
func Detach(netns, tap string) error {
	attaching.Lock()
	defer attaching.Unlock()
	err := inside(netns, func(n *namespace) error { return n.detach(tap) })
	if errors.Is(err, ErrNoNamespace) {
		return nil
	}
	return err
}
